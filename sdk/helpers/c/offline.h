// For tests without a host: the answers that `backline plugins try --record` wrote. Link offline.c to tests alone: it
// reads files. What does not fit ends the test with a message.
#ifndef BACKLINE_OFFLINE_H
#define BACKLINE_OFFLINE_H

#include "connector.h"

// One account's recorded answers.
typedef struct {
  bl_account account;
  bl_window window;
  int64_t observed_at;
  struct bl_exchange *first;
} bl_recording;

// Reads a folder that `backline plugins try --record` wrote.
bl_recording bl_recorded(const char *folder);

// Lets bl_replay answer from recordings, from their beginning.
void bl_replay_from(const bl_recording *recordings, size_t count);

// A bl_send for tests. A request gets an answer only if it was recorded with the same method, URL and body, and not
// with the credential of another account: any other ends the test. One that was recorded several times gets its answers
// in turn, and then the last one again.
bool bl_replay(const bl_request *request, bl_response *response, bl_error *error);

// What connector_fetch makes of a recording and connector_normalize of that, at the time of the recording. It calls
// bl_replay_from, so the test's bl_send has to call bl_replay.
bl_snapshot bl_collected(const bl_recording *recording);

// A metric of a snapshot.
bl_metric bl_metric_of(const bl_snapshot *snapshot, const char *name);

#endif
