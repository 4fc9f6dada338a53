// The exports and imports of the contract backline:connector@1.0.0, as the canonical ABI has them. Only for
// WebAssembly.
#include "connector.h"

#include <stdlib.h>
#include <string.h>

// The records below are written to memory as they are, so their layout must be the contract's.
_Static_assert(sizeof(bl_account) == 36 && offsetof(bl_account, state) == 28, "account");
_Static_assert(sizeof(bl_error) == 24 && sizeof(bl_answer) == 32 && sizeof(bl_fetched) == 20, "answer");
_Static_assert(sizeof(bl_document) == 32 && offsetof(bl_document, observed_at) == 24, "document");
_Static_assert(sizeof(bl_value) == 16 && sizeof(bl_metric) == 48, "metric");
_Static_assert(offsetof(bl_metric, value) == 8 && offsetof(bl_metric, coverage) == 36, "metric");
_Static_assert(sizeof(bl_snapshot) == 64 && offsetof(bl_snapshot, engagement) == 16, "snapshot");
_Static_assert(sizeof(bl_header) == 16, "header");

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

// The host writes its answers into memory that this gives.
EXPORT("cabi_realloc") void *backline_realloc(void *old, size_t old_size, size_t align, size_t size) {
  (void)old_size;
  if (size == 0) return (void *)align;
  void *memory = realloc(old, size);
  if (memory == NULL) __builtin_trap();
  return memory;
}

IMPORT("backline:connector/log@1.0.0", "write")
void backline_write(int32_t level, const char *data, size_t length);

void bl_log(bl_level level, bl_text message) {
  message = bl_valid(message);
  backline_write(level, message.data, message.length);
}

// The error with a reason that the host takes.
static bl_error valid_error(bl_error error) {
  bool has_reason = error.class != BL_NOT_FOUND && error.class != BL_RATE_LIMITED && error.class != BL_QUOTA_EXHAUSTED;
  if (has_reason) error.of.why = bl_valid(error.of.why);
  return error;
}

typedef struct {
  bool failed;
  union {
    bl_response response;
    struct {
      uint8_t kind;
      union {
        bl_text why;
        struct {
          bool known;
          uint32_t value;
        } seconds;
        struct {
          bool known;
          int64_t value;
        } until;
        uint64_t bytes;
      } of;
    } error;
  } of;
} sent;

_Static_assert(sizeof(sent) == 32 && offsetof(bl_response, headers) == 4, "response");

IMPORT("backline:connector/http@1.0.0", "send")
void backline_send(int32_t method, const char *url, size_t url_length, const bl_header *headers, size_t headers_count,
                   int32_t has_body, const char *body, size_t body_length, int32_t has_credential, const char *slot,
                   size_t slot_length, int32_t of_account, const char *account, size_t account_length, sent *sent);

bool bl_send(const bl_request *request, bl_response *response, bl_error *error) {
  sent got;
  bool has_credential = request->slot.length > 0, of_account = has_credential && request->of_account;
  backline_send(request->method, request->url.data, request->url.length, request->headers, request->headers_count,
                request->has_body, request->body.data, request->body.length, has_credential, request->slot.data,
                request->slot.length, of_account, request->account.data, request->account.length, &got);
  if (!got.failed) {
    *response = got.of.response;
    return true;
  }
  switch (got.of.error.kind) {
    case 0: *error = bl_because(BL_MISCONFIGURED, got.of.error.of.why); break;
    // Without a secret of the account's own, the artist has to connect; the operator's is missing in the configuration.
    case 1: *error = bl_because(of_account ? BL_RECONNECT : BL_MISCONFIGURED, got.of.error.of.why); break;
    case 2:
      *error = bl_because(BL_RATE_LIMITED, BL_TEXT(""));
      error->of.seconds.known = got.of.error.of.seconds.known;
      error->of.seconds.value = got.of.error.of.seconds.value;
      break;
    case 3:
      *error = bl_because(BL_QUOTA_EXHAUSTED, BL_TEXT(""));
      error->of.until.known = got.of.error.of.until.known;
      error->of.until.value = got.of.error.of.until.value;
      break;
    case 4: *error = bl_because(BL_UNAVAILABLE, BL_TEXT("no answer in time")); break;
    case 5: *error = bl_because(BL_UNAVAILABLE, got.of.error.of.why); break;
    default: *error = bl_because(BL_UNEXPECTED, BL_TEXT("the answer is too large")); break;
  }
  return false;
}

typedef struct {
  bool failed;
  union {
    bl_text name;
    bl_error error;
  } of;
} checked;

EXPORT("backline:connector/source@1.0.0#check")
checked *backline_check(const char *id, size_t id_length, const char *platform_id, size_t platform_id_length,
                        const char *settings, size_t settings_length, int32_t has_state, const char *state,
                        size_t state_length) {
  bl_account account = {{id, id_length}, {platform_id, platform_id_length}, {settings, settings_length}, has_state != 0,
                        {state, state_length}};
  checked *result = bl_new(sizeof *result);
  bl_text name = {NULL, 0};
  bl_error error = bl_because(BL_UNEXPECTED, BL_TEXT("the connector gave no answer"));
  if (connector_check(&account, &name, &error)) {
    result->of.name = bl_valid(name);
  } else {
    result->failed = true;
    result->of.error = valid_error(error);
  }
  return result;
}

typedef struct {
  bl_answer *answers;
  size_t count;
  const void *lost_metrics;
  size_t lost_metrics_count;
} batch_result;

EXPORT("backline:connector/source@1.0.0#fetch")
batch_result *backline_fetch(const bl_account *accounts, size_t count, int64_t since, int64_t until,
                             const bl_text *lost_metrics, size_t lost_metrics_count) {
  bl_context context = {{since, until}, lost_metrics, lost_metrics_count};
  batch_result *result = bl_new(sizeof *result);
  result->count = count;
  result->answers = bl_new(count * sizeof *result->answers);
  // What the connector leaves unanswered is reported, and never taken for a document.
  for (size_t i = 0; i < count; i++) {
    result->answers[i].failed = true;
    result->answers[i].of.error = bl_because(BL_UNEXPECTED, BL_TEXT("the connector gave no answer"));
  }
  connector_fetch(accounts, count, &context, result->answers);
  // A body in another alphabet ends no call: that would cost the other accounts their answers.
  for (size_t i = 0; i < count; i++) {
    bl_answer *answer = &result->answers[i];
    if (answer->failed) {
      answer->of.error = valid_error(answer->of.error);
    } else {
      answer->of.fetched.body = bl_valid(answer->of.fetched.body);
      if (answer->of.fetched.has_state) answer->of.fetched.state = bl_valid(answer->of.fetched.state);
    }
  }
  return result;
}

typedef struct {
  bool failed;
  union {
    bl_snapshot snapshot;
    bl_text why;
  } of;
} normalised;

_Static_assert(sizeof(normalised) == 72 && sizeof(checked) == 32, "results");

typedef struct {
  normalised *results;
  size_t count;
} normalised_list;

EXPORT("backline:connector/source@1.0.0#normalize")
normalised_list *backline_normalize(const bl_document *documents, size_t count) {
  normalised_list *list = bl_new(sizeof *list);
  list->count = count;
  list->results = bl_new(count * sizeof *list->results);
  for (size_t i = 0; i < count; i++) {
    bl_snapshot snapshot;
    memset(&snapshot, 0, sizeof snapshot);
    bl_text why = {NULL, 0};
    if (connector_normalize(&documents[i], &snapshot, &why)) {
      list->results[i].of.snapshot = snapshot;
    } else {
      list->results[i].failed = true;
      list->results[i].of.why = bl_valid(why);
    }
  }
  return list;
}
