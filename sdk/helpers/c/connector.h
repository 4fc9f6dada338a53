// The contract backline:connector@1.0.0 in C: what a connector implements, what it may call, and helpers.
//
// The records have the layout of the component model's canonical ABI, so that nothing is converted. Every call runs in
// a fresh instance, and nothing in memory outlives it: memory is never given back.
#ifndef BACKLINE_CONNECTOR_H
#define BACKLINE_CONNECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// UTF-8 text, or bytes. It does not end with a zero.
typedef struct {
  const char *data;
  size_t length;
} bl_text;

// A literal as text.
#define BL_TEXT(literal) ((bl_text){(literal), sizeof(literal) - 1})

// An artist's presence on the platform.
typedef struct {
  bl_text id;           // the host's own; name it in a request to have this account's secret injected
  bl_text platform_id;  // the platform's: an opaque text, always encoded in a URL
  bl_text settings;     // JSON, valid against the manifest's [settings]
  bool has_state;
  bl_text state;  // JSON that was kept with the last document
} bl_account;

// The trailing window of post-level metrics in seconds since 1970, UTC: `since` inclusive, `until` exclusive.
typedef struct {
  int64_t since;
  int64_t until;
} bl_window;

// What every account of a batch has in common.
typedef struct {
  bl_window window;
  const bl_text *lost_metrics;  // names that were reported as lost before: don't ask for them again
  size_t lost_metrics_count;
} bl_context;

// Why an account could not be fetched. The host reacts to the class, never to the text.
typedef enum {
  BL_NOT_FOUND,
  BL_UNAUTHORIZED,
  BL_RECONNECT,
  BL_FORBIDDEN,
  BL_MISCONFIGURED,
  BL_RATE_LIMITED,
  BL_QUOTA_EXHAUSTED,
  BL_UNAVAILABLE,
  BL_UNEXPECTED,
} bl_class;

typedef struct {
  uint8_t class;  // a bl_class
  union {
    bl_text why;  // of all but the three classes not_found, rate_limited and quota_exhausted
    struct {
      bool known;
      uint32_t value;
    } seconds;  // of rate_limited
    struct {
      bool known;
      int64_t value;
    } until;  // of quota_exhausted, in seconds since 1970
  } of;
} bl_error;

// What was fetched for one account: JSON, as the platform sent it wherever possible.
typedef struct {
  bl_text body;
  bool has_state;
  bl_text state;  // JSON to be given back next time
} bl_fetched;

// The answer to one account.
typedef struct {
  bool failed;
  union {
    bl_fetched fetched;
    bl_error error;
  } of;
} bl_answer;

// A stored document, as `connector_normalize` gets it: now, or years later.
typedef struct {
  bl_text body;
  bl_window window;
  int64_t observed_at;
} bl_document;

// Why a metric has no value. Missing is never zero.
typedef enum { BL_NOT_OFFERED, BL_HIDDEN, BL_NOT_AUTHORIZED, BL_NO_SUCH_THING, BL_UNAVAILABLE_NOW } bl_absence;

typedef enum { BL_INTEGER, BL_DECIMAL, BL_LABEL, BL_LABELS } bl_value_kind;

typedef struct {
  uint8_t kind;  // a bl_value_kind
  union {
    int64_t integer;
    double decimal;
    bl_text text;
    struct {
      const bl_text *items;
      size_t count;
    } texts;
  } of;
} bl_value;

typedef struct {
  bl_text name;
  struct {
    bool absent;
    union {
      bl_value value;
      uint8_t absence;  // a bl_absence
    } of;
  } value;
  bool has_coverage;
  struct {
    uint32_t counted;
    uint32_t skipped;
  } coverage;  // of aggregates over posts
} bl_metric;

typedef enum { BL_FOLLOWERS, BL_VIEWS, BL_REACH } bl_basis;

typedef struct {
  bl_metric *metrics;
  size_t metrics_count;
  bool has_engagement;
  struct {
    int64_t interactions;
    bool has_base;
    int64_t base;
    uint8_t basis;  // a bl_basis
    uint32_t posts_counted;
    uint32_t posts_skipped;
  } engagement;
  const bl_text *notes;
  size_t notes_count;
} bl_snapshot;

typedef enum { BL_GET, BL_HEAD, BL_POST, BL_PUT, BL_PATCH, BL_DELETE } bl_method;

typedef struct {
  bl_text name;  // of an answer: in lower case
  bl_text value;
} bl_header;

typedef struct {
  bl_method method;
  bl_text url;  // absolute, https, encoded
  const bl_header *headers;
  size_t headers_count;
  bool has_body;
  bl_text body;
  bl_text slot;  // of the credential; empty for none
  bool of_account;
  bl_text account;  // the `id` of the account whose secret it is, if it is not the operator's
} bl_request;

typedef struct {
  uint16_t status;
  const bl_header *headers;
  size_t headers_count;
  bl_text body;
} bl_response;

// --- What a connector implements -------------------------------------------------------------------------------------

// Whether the account can be reached. Gives its name on the platform, or false and the error.
bool connector_check(const bl_account *account, bl_text *name, bl_error *error);

// Answers every account, each at its own place: answers[i] is that of accounts[i].
void connector_fetch(const bl_account *accounts, size_t count, const bl_context *context, bl_answer *answers);

// Gives the snapshot of a document, or false and why it can't be read at all. It may call nothing but bl_log.
bool connector_normalize(const bl_document *document, bl_snapshot *snapshot, bl_text *why);

// --- What a connector may call ---------------------------------------------------------------------------------------

// Sends a request. False if the host has no answer; then the error is the account's.
bool bl_send(const bl_request *request, bl_response *response, bl_error *error);

typedef enum { BL_DEBUG, BL_INFO, BL_WARN, BL_ERROR } bl_level;

void bl_log(bl_level level, bl_text message);

// --- Helpers ---------------------------------------------------------------------------------------------------------

// Memory that lasts until the call ends, zeroed; traps if there is none.
void *bl_new(size_t size);

// Texts, one after the other.
bl_text bl_join(const bl_text *parts, size_t count);

// A text with U+FFFD for whatever is no UTF-8. The host takes nothing else: it would end the call for all accounts.
// What is logged or fetched, and the reason of an error, becomes so by itself.
bl_text bl_valid(bl_text text);

bl_text bl_text_of(const char *zero_terminated);
bool bl_same(bl_text a, bl_text b);

// A part of a URL, with everything encoded that has a meaning there.
bl_text bl_encoded(bl_text part);

// The value of a header, whose name is in lower case; without data if there is none.
bl_text bl_header_of(const bl_response *response, bl_text name);

// An error with its reason.
bl_error bl_because(bl_class class, bl_text why);

// `rate_limited` with the seconds of `retry-after`, where they were given.
bl_error bl_throttled(const bl_response *response);

// JSON, read into a tree.
typedef enum { BL_NONE, BL_NULL, BL_BOOL, BL_NUMBER, BL_STRING, BL_LIST, BL_OBJECT } bl_kind;

typedef struct bl_json {
  bl_kind kind;
  bl_text key;   // inside an object
  bl_text text;  // of a string its characters, of a number its digits as they were written, of a boolean its word
  struct bl_json *first;
  struct bl_json *next;
} bl_json;

// NULL if the text is not JSON.
const bl_json *bl_parse(bl_text text);

// A field of an object; one of kind BL_NONE if there is none. Never NULL.
const bl_json *bl_get(const bl_json *json, const char *key);

// A count as platforms send it: a whole number from 0 to 2^63-1, or one in a string.
bool bl_count(const bl_json *json, int64_t *count);

// The start of a calendar date such as 2026-11-20 in seconds since 1970, UTC; false for one of a month or a year only.
bool bl_day(bl_text text, int64_t *seconds);

// Metrics of a snapshot.
bl_metric bl_integer(bl_text name, int64_t value);
bl_metric bl_absent(bl_text name, bl_absence absence);
bl_metric bl_counted(bl_text name, const bl_json *json, bl_absence absence);

#endif
