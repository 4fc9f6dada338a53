// Recordings for tests, as offline.h describes them.
#include "offline.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A file of a recording: a request and its answer.
struct bl_exchange {
  const bl_json *request;
  const bl_json *answer;
  bl_text account;  // the platform's id of the account whose recording it is from
  bool given;
  struct bl_exchange *next;
};

static const bl_recording *recordings_now;
static size_t recordings_count;

_Noreturn static void fail(bl_text which, const char *why) {
  fprintf(stderr, "%.*s: %s\n", (int)which.length, which.data == NULL ? "" : which.data, why);
  exit(1);
}

static bl_text read_file(bl_text path) {
  FILE *file = fopen(path.data, "rb");
  if (file == NULL) fail(path, "it can't be read");
  size_t length = 0, room = 4096, got;
  char *text = malloc(room);
  while (text != NULL && (got = fread(text + length, 1, room - length, file)) > 0) {
    length += got;
    if (length == room) text = realloc(text, room *= 2);
  }
  fclose(file);
  if (text == NULL) __builtin_trap();
  return (bl_text){text, length};
}

static const bl_json *read_json(const char *folder, const char *name) {
  // The last part ends the path for fopen.
  bl_text parts[] = {bl_text_of(folder), BL_TEXT("/"), bl_text_of(name), {"", 1}};
  bl_text path = bl_join(parts, 4);
  path.length--;
  const bl_json *json = bl_parse(read_file(path));
  if (json == NULL) fail(path, "it is not JSON");
  return json;
}

// Seconds since 1970 of a time such as 2026-11-28T12:00:00Z.
static int64_t moment(bl_text text) {
  int64_t day = 0, clock[3] = {0, 0, 0};
  bool ok = text.length >= 20 && text.data[10] == 'T' && text.data[text.length - 1] == 'Z';
  ok = ok && bl_day((bl_text){text.data, 10}, &day);
  for (size_t i = 0; ok && i < 3; i++) {
    const char *digits = text.data + 11 + 3 * i;
    ok = digits[0] >= '0' && digits[0] <= '9' && digits[1] >= '0' && digits[1] <= '9';
    clock[i] = 10 * (digits[0] - '0') + (digits[1] - '0');
  }
  if (!ok) fail(text, "it is not a time in UTC");
  return day + 3600 * clock[0] + 60 * clock[1] + clock[2];
}

// --- JSON as text ----------------------------------------------------------------------------------------------------

typedef struct {
  char *data;
  size_t length;
  size_t room;
} writer;

static void put(writer *w, const char *data, size_t length) {
  if (length == 0) return;
  if (w->room - w->length < length) {
    w->room = 2 * (w->room + length);
    w->data = realloc(w->data, w->room);
    if (w->data == NULL) __builtin_trap();
  }
  memcpy(w->data + w->length, data, length);
  w->length += length;
}

static void put_string(writer *w, bl_text text) {
  put(w, "\"", 1);
  for (size_t i = 0; i < text.length; i++) {
    unsigned char c = (unsigned char)text.data[i];
    char escaped[7];
    if (c == '"' || c == '\\') {
      put(w, "\\", 1);
      put(w, text.data + i, 1);
    } else if (c < 0x20) {
      snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)c);
      put(w, escaped, 6);
    } else {
      put(w, text.data + i, 1);
    }
  }
  put(w, "\"", 1);
}

static void put_json(writer *w, const bl_json *json) {
  switch (json->kind) {
    case BL_BOOL:
    case BL_NUMBER: put(w, json->text.data, json->text.length); return;
    case BL_STRING: put_string(w, json->text); return;
    case BL_LIST:
    case BL_OBJECT: break;
    default: put(w, "null", 4); return;
  }
  bool is_object = json->kind == BL_OBJECT;
  put(w, is_object ? "{" : "[", 1);
  for (const bl_json *item = json->first; item != NULL; item = item->next) {
    if (item != json->first) put(w, ",", 1);
    if (is_object) {
      put_string(w, item->key);
      put(w, ":", 1);
    }
    put_json(w, item);
  }
  put(w, is_object ? "}" : "]", 1);
}

static bl_text written(const bl_json *json) {
  writer w = {NULL, 0, 0};
  put_json(&w, json);
  return (bl_text){w.data, w.length};
}

// --- Reading ---------------------------------------------------------------------------------------------------------

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// The names of a recording's exchanges, in order.
static char **names_in(const char *folder, size_t *count) {
  DIR *open = opendir(folder);
  if (open == NULL) fail(bl_text_of(folder), "it can't be read");
  char **names = NULL;
  *count = 0;
  for (struct dirent *entry = readdir(open); entry != NULL; entry = readdir(open)) {
    size_t length = strlen(entry->d_name);
    bool is_json = length > 5 && strcmp(entry->d_name + length - 5, ".json") == 0;
    if (!is_json || strcmp(entry->d_name, "recording.json") == 0) continue;
    names = realloc(names, (*count + 1) * sizeof *names);
    if (names == NULL) __builtin_trap();
    names[*count] = memcpy(bl_new(length + 1), entry->d_name, length);
    ++*count;
  }
  closedir(open);
  if (*count > 0) qsort(names, *count, sizeof *names, by_name);
  return names;
}

bl_recording bl_recorded(const char *folder) {
  const bl_json *about = read_json(folder, "recording.json"), *window = bl_get(about, "window");
  bl_recording recording;
  memset(&recording, 0, sizeof recording);
  bl_text id = bl_get(about, "account")->text, parts[] = {BL_TEXT("account-"), id};
  recording.account.id = bl_join(parts, 2);
  recording.account.platform_id = id;
  recording.account.settings = written(bl_get(about, "settings"));
  recording.window.since = moment(bl_get(window, "since")->text);
  recording.window.until = moment(bl_get(window, "until")->text);
  recording.observed_at = moment(bl_get(about, "observed_at")->text);
  size_t count;
  char **names = names_in(folder, &count);
  struct bl_exchange **last = &recording.first;
  for (size_t i = 0; i < count; i++) {
    const bl_json *one = read_json(folder, names[i]);
    struct bl_exchange *exchange = bl_new(sizeof *exchange);
    exchange->request = bl_get(one, "request");
    exchange->answer = bl_get(one, "answer");
    exchange->account = id;
    *last = exchange;
    last = &exchange->next;
  }
  return recording;
}

// --- Replaying -------------------------------------------------------------------------------------------------------

void bl_replay_from(const bl_recording *recordings, size_t count) {
  recordings_now = recordings;
  recordings_count = count;
  for (size_t i = 0; i < count; i++) {
    for (struct bl_exchange *one = recordings[i].first; one != NULL; one = one->next) one->given = false;
  }
}

// How well an answer fits a request: those that were recorded with its credential come first, then what does not say
// that it is another account's, and of that what is from the account's own recording. -1 if it is not for the request.
static int rank(const struct bl_exchange *one, const bl_request *request, bl_text account) {
  static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};
  const bl_json *asked = one->request, *body = bl_get(asked, "body"), *credential = bl_get(asked, "credential");
  bool has_body = body->kind == BL_STRING;
  bool is_same = bl_same(bl_get(asked, "method")->text, bl_text_of(methods[request->method])) &&
                 bl_same(bl_get(asked, "url")->text, request->url) && has_body == request->has_body &&
                 (!has_body || bl_same(body->text, request->body));
  if (one->given || !is_same) return -1;
  if (credential->kind == BL_OBJECT) {
    bl_text owner = bl_get(credential, "account")->text;
    if (owner.length > 0 && !bl_same(owner, account)) return -1;
    if (bl_same(bl_get(credential, "slot")->text, request->slot) && bl_same(owner, account)) return 2;
  }
  return account.length > 0 && bl_same(one->account, account) ? 1 : 0;
}

static bool replayed(const bl_json *answer, bl_response *response, bl_error *error) {
  const bl_json *failed = bl_get(answer, "error"), *json = bl_get(answer, "json");
  if (failed->kind == BL_STRING) {
    bool is_too_large = bl_same(failed->text, BL_TEXT("too-large"));
    *error = bl_because(is_too_large ? BL_UNEXPECTED : BL_UNAVAILABLE, failed->text);
    return false;
  }
  int64_t status = 200;
  bl_count(bl_get(answer, "status"), &status);
  size_t count = 0;
  const bl_json *first = bl_get(answer, "headers")->first;
  for (const bl_json *header = first; header != NULL; header = header->next) count++;
  bl_header *headers = bl_new(count * sizeof *headers), *next = headers;
  for (const bl_json *header = first; header != NULL; header = header->next) {
    *next++ = (bl_header){header->key, header->text};
  }
  bool is_json = json->kind != BL_NONE && json->kind != BL_NULL;
  *response = (bl_response){(uint16_t)status, headers, count, is_json ? written(json) : bl_get(answer, "text")->text};
  return true;
}

bool bl_replay(const bl_request *request, bl_response *response, bl_error *error) {
  bl_text account = {NULL, 0};
  if (request->slot.length > 0 && request->of_account) account = request->account;
  for (size_t i = 0; i < recordings_count; i++) {
    const bl_account *known = &recordings_now[i].account;
    if (account.length > 0 && bl_same(known->id, account)) account = known->platform_id;
  }
  struct bl_exchange *found = NULL;
  int best = -1;
  size_t fitting = 0;
  for (size_t i = 0; i < recordings_count; i++) {
    for (struct bl_exchange *one = recordings_now[i].first; one != NULL; one = one->next) {
      int fit = rank(one, request, account);
      if (fit > best) {
        best = fit;
        found = one;
        fitting = 1;
      } else if (fit == best && fit >= 0) {
        fitting++;
      }
    }
  }
  if (found == NULL) fail(request->url, "it is not recorded, or with another account's credential");
  if (fitting > 1) found->given = true;
  return replayed(found->answer, response, error);
}

bl_snapshot bl_collected(const bl_recording *recording) {
  bl_replay_from(recording, 1);
  bl_context context = {recording->window, NULL, 0};
  bl_answer answer;
  bl_snapshot snapshot;
  memset(&answer, 0, sizeof answer);
  memset(&snapshot, 0, sizeof snapshot);
  connector_fetch(&recording->account, 1, &context, &answer);
  if (answer.failed) fail(recording->account.platform_id, "connector_fetch gives an error");
  bl_document document = {answer.of.fetched.body, recording->window, recording->observed_at};
  bl_text why = {NULL, 0};
  if (!connector_normalize(&document, &snapshot, &why)) fail(why, "connector_normalize refuses the document");
  return snapshot;
}

bl_metric bl_metric_of(const bl_snapshot *snapshot, const char *name) {
  for (size_t i = 0; i < snapshot->metrics_count; i++) {
    if (bl_same(snapshot->metrics[i].name, bl_text_of(name))) return snapshot->metrics[i];
  }
  fail(bl_text_of(name), "the snapshot has no such metric");
}
