// Backline connector for Example: one request per artist.
#include "connector.h"

// Credential slot in the manifest.
#define SLOT BL_TEXT("app")

// Asks for an artist. The body is kept as the platform sent it, once it was recognised as an artist.
static bool fetch_artist(const bl_account *account, bl_text *body, bl_error *error) {
  bl_text url[] = {BL_TEXT("https://api.example.com/v1/artists/"), bl_encoded(account->platform_id)};
  bl_request request = {.method = BL_GET, .url = bl_join(url, 2), .slot = SLOT};
  bl_response response;
  if (!bl_send(&request, &response, error)) return false;
  switch (response.status) {
    case 200: break;
    // An API key can't be refreshed, so a refused one means that the operator's configuration is wrong.
    case 401: *error = bl_because(BL_MISCONFIGURED, BL_TEXT("HTTP 401")); return false;
    case 403: *error = bl_because(BL_FORBIDDEN, BL_TEXT("HTTP 403")); return false;
    case 404:
    case 410: *error = bl_because(BL_NOT_FOUND, BL_TEXT("")); return false;
    case 429: *error = bl_throttled(&response); return false;
    default:
      *error = response.status >= 500 ? bl_because(BL_UNAVAILABLE, BL_TEXT("the platform failed"))
                                      : bl_because(BL_UNEXPECTED, BL_TEXT("a status that is not documented"));
      return false;
  }
  const bl_json *artist = bl_parse(response.body);
  if (artist == NULL) {
    *error = bl_because(BL_UNAVAILABLE, BL_TEXT("the response is not JSON"));
    return false;
  }
  // A body of another shape must not be taken for an artist without numbers.
  if (bl_get(artist, "id")->kind != BL_STRING) {
    *error = bl_because(BL_UNEXPECTED, BL_TEXT("the response is not an artist"));
    return false;
  }
  *body = response.body;
  return true;
}

bool connector_check(const bl_account *account, bl_text *name, bl_error *error) {
  bl_text body;
  if (!fetch_artist(account, &body, error)) return false;
  const bl_json *found = bl_get(bl_parse(body), "name");
  if (found->kind != BL_STRING) {
    *error = bl_because(BL_UNEXPECTED, BL_TEXT("the artist has no name"));
    return false;
  }
  *name = found->text;
  return true;
}

void connector_fetch(const bl_account *accounts, size_t count, const bl_context *context, bl_answer *answers) {
  (void)context;
  for (size_t i = 0; i < count; i++) {
    // One account's failure must not affect the others.
    bl_text body;
    bl_error error;
    bl_answer answer = {0};
    if (fetch_artist(&accounts[i], &body, &error)) {
      answer.of.fetched.body = body;
    } else {
      answer.failed = true;
      answer.of.error = error;
    }
    answers[i] = answer;
  }
}

// Counts the releases inside the window. A date of a month or a year only counts as skipped.
static bl_metric recent_releases(const bl_json *releases, bl_window window) {
  bl_text name = BL_TEXT("recent_releases");
  // A missing list is not an empty one.
  if (releases->kind != BL_LIST) return bl_absent(name, BL_UNAVAILABLE_NOW);
  uint32_t counted = 0, skipped = 0;
  for (const bl_json *release = releases->first; release != NULL; release = release->next) {
    const bl_json *date = bl_get(release, "date");
    int64_t day;
    if (date->kind != BL_STRING || !bl_day(date->text, &day)) {
      skipped++;
    } else if (day >= window.since && day < window.until) {
      counted++;
    }
  }
  bl_metric metric = bl_integer(name, counted);
  metric.has_coverage = true;
  metric.coverage.counted = counted;
  metric.coverage.skipped = skipped;
  return metric;
}

// Every metric of the catalogue, as a value or as the reason why there is none. Missing is never zero.
bool connector_normalize(const bl_document *document, bl_snapshot *snapshot, bl_text *why) {
  (void)why;
  const bl_json *artist = bl_parse(document->body);
  bl_metric *metrics = bl_new(3 * sizeof *metrics);
  metrics[0] = bl_counted(BL_TEXT("followers"), bl_get(artist, "followers"), BL_HIDDEN);
  metrics[1] = bl_absent(BL_TEXT("streams"), BL_NOT_OFFERED);
  metrics[2] = recent_releases(bl_get(artist, "releases"), document->window);
  snapshot->metrics = metrics;
  snapshot->metrics_count = 3;
  return true;
}
