// Makes build/core.wasm of app.js: `npm run build`, then `backline plugins pack`.
import { mkdir, writeFile } from 'node:fs/promises';

import { componentize } from '@bytecodealliance/componentize-js';

const { component } = await componentize({
  sourcePath: 'app.js',
  // The copy of the contract without async functions; `pack` gives them the contract's types.
  witPath: 'vendor/wit/connector-sync/1.0.0/connector.wit',
  worldName: 'connector',
  // Nothing of a system is there: the component imports Backline's interfaces alone.
  disableFeatures: ['stdio', 'random', 'clocks', 'http', 'fetch-event'],
});
await mkdir('build', { recursive: true });
await writeFile('build/core.wasm', component);
