// What the component exports. The code is in connector.js, which tests load without a host.
import { send } from 'backline:connector/http@1.0.0';
import { connector } from './connector.js';

export const source = connector(send);
