// Tests without a host: `make test` compiles them for this machine. `bl_send` answers from `answers/`, or from a table.
#include "connector.h"
#include "offline.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

// 2026-10-31 to 2026-11-28, 12:00 UTC.
static const bl_window WINDOW = {1793448000, 1795867200};

typedef struct {
  const char *url;
  uint16_t status;
  bl_text body;
} prepared;

// The table; without one, recordings answer.
static const prepared *answers_now;
static size_t answers_count;

bool bl_send(const bl_request *request, bl_response *response, bl_error *error) {
  if (answers_now == NULL) return bl_replay(request, response, error);
  static const bl_header headers[] = {{{"retry-after", 11}, {"17", 2}}};
  for (size_t i = 0; i < answers_count; i++) {
    if (!bl_same(request->url, bl_text_of(answers_now[i].url))) continue;
    *response = (bl_response){answers_now[i].status, headers, 1, answers_now[i].body};
    return true;
  }
  *error = bl_because(BL_UNEXPECTED, BL_TEXT("the test has no such answer"));
  return false;
}

void bl_log(bl_level level, bl_text message) { fprintf(stderr, "%d %.*s\n", level, (int)message.length, message.data); }

static bl_account account(const char *id) {
  return (bl_account){bl_text_of(id), bl_text_of(id), BL_TEXT("{}"), false, {NULL, 0}};
}

static bl_metric metric(bl_text body, const char *name) {
  bl_document document = {body, WINDOW, WINDOW.until};
  bl_snapshot snapshot = {0};
  bl_text why;
  assert(connector_normalize(&document, &snapshot, &why));
  return bl_metric_of(&snapshot, name);
}

static bool is(bl_metric metric, int64_t value) {
  return !metric.value.absent && metric.value.of.value.kind == BL_INTEGER && metric.value.of.value.of.integer == value;
}

static bool is_absent(bl_metric metric, bl_absence absence) {
  return metric.value.absent && metric.value.of.absence == absence;
}

static void the_recorded_answers_give_these_numbers(void) {
  const char *folders[] = {"answers/a1", "answers/a2", "answers/a3"};
  int64_t releases[] = {1, 0, 1};
  for (int i = 0; i < 3; i++) {
    bl_recording recording = bl_recorded(folders[i]);
    bl_snapshot snapshot = bl_collected(&recording);
    assert(is(bl_metric_of(&snapshot, "recent_releases"), releases[i]));
    assert(is_absent(bl_metric_of(&snapshot, "streams"), BL_NOT_OFFERED));
    bl_metric followers = bl_metric_of(&snapshot, "followers");
    assert(i == 0 ? is(followers, 120345) : i == 1 ? is_absent(followers, BL_HIDDEN) : is(followers, 3331930783));
  }
}

static void each_account_of_a_batch_gets_its_own_answer(void) {
  bl_recording recordings[] = {bl_recorded("answers/a3"), bl_recorded("answers/a1"), bl_recorded("answers/a2")};
  bl_account accounts[3];
  for (int i = 0; i < 3; i++) accounts[i] = recordings[i].account;
  bl_replay_from(recordings, 3);
  bl_context context = {WINDOW, NULL, 0};
  bl_answer got[3];
  connector_fetch(accounts, 3, &context, got);
  for (int i = 0; i < 3; i++) {
    assert(!got[i].failed);
    assert(bl_same(bl_get(bl_parse(got[i].of.fetched.body), "id")->text, accounts[i].platform_id));
  }
}

static void one_artists_failure_does_not_affect_others(void) {
  prepared answers[] = {
      {"https://api.example.com/v1/artists/a1", 429, BL_TEXT("{}")},
      {"https://api.example.com/v1/artists/a2", 200, BL_TEXT("{\"id\": \"a2\", \"followers\": 7}")},
  };
  answers_now = answers;
  answers_count = 2;
  bl_account accounts[] = {account("a1"), account("a2")};
  bl_context context = {WINDOW, NULL, 0};
  bl_answer got[2];
  connector_fetch(accounts, 2, &context, got);
  assert(got[0].failed && got[0].of.error.class == BL_RATE_LIMITED);
  assert(got[0].of.error.of.seconds.known && got[0].of.error.of.seconds.value == 17);
  assert(!got[1].failed && is(metric(got[1].of.fetched.body, "followers"), 7));
  answers_now = NULL;
}

static void what_is_no_count_is_missing_and_never_zero(void) {
  const char *values[] = {"null", "\"many\"", "-1", "1.5", "true", "[]", "9223372036854775808", "\"\""};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    bl_text parts[] = {BL_TEXT("{\"id\": \"a1\", \"followers\": "), bl_text_of(values[i]), BL_TEXT("}")};
    assert(is_absent(metric(bl_join(parts, 3), "followers"), BL_HIDDEN));
  }
}

static void an_id_can_not_reach_another_address(void) {
  assert(bl_same(bl_encoded(BL_TEXT("a/../b?c=1&d#e")), BL_TEXT("a%2F..%2Fb%3Fc%3D1%26d%23e")));
  assert(bl_same(bl_encoded(BL_TEXT("..")), BL_TEXT("%2E%2E")));
}

static void json_is_read_and_what_is_not_json_is_refused(void) {
  const char *wrong[] = {"", "{", "{\"a\":1", "[1,]", "01", "1.", "\"a", "nul", "{\"a\" 1}", "1 2", "\"\\x\"", "\"\\"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert(bl_parse(bl_text_of(wrong[i])) == NULL);
  const bl_json *text = bl_parse(BL_TEXT("\"\\u00e9 \\ud83d\\ude00 \\ud83d\""));
  assert(text != NULL && bl_same(text->text, BL_TEXT("\xC3\xA9 \xF0\x9F\x98\x80 \xEF\xBF\xBD")));
}

static void what_is_no_utf_8_is_replaced(void) {
  const char *valid[] = {"", "a", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "\xED\x9F\xBF\xF4\x8F\xBF\xBF"};
  for (size_t i = 0; i < sizeof valid / sizeof *valid; i++) {
    assert(bl_valid(bl_text_of(valid[i])).data == valid[i]);
  }
  const char *wrong[] = {"\xE9", "\x80", "\xC3", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF4\x90\x80\x80"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    bl_text parts[] = {BL_TEXT("<"), bl_text_of(wrong[i]), BL_TEXT(">")}, made = bl_valid(bl_join(parts, 3));
    assert(made.length == 2 + 3 * strlen(wrong[i]) && made.data[0] == '<' && made.data[made.length - 1] == '>');
    assert(memcmp(made.data + 1, "\xEF\xBF\xBD", 3) == 0);
  }
}

int main(void) {
  the_recorded_answers_give_these_numbers();
  each_account_of_a_batch_gets_its_own_answer();
  one_artists_failure_does_not_affect_others();
  what_is_no_count_is_missing_and_never_zero();
  an_id_can_not_reach_another_address();
  json_is_read_and_what_is_not_json_is_refused();
  what_is_no_utf_8_is_replaced();
  puts("7 passed, 0 failed");
  return 0;
}
