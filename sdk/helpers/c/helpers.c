// Helpers of connector.h that need no host: texts, JSON, dates and metrics. Tests link this file alone.
#include "connector.h"

#include <stdlib.h>
#include <string.h>

// Deepest nesting of JSON that is read.
#define DEPTH_MAX 128

void *bl_new(size_t size) {
  void *memory = calloc(1, size > 0 ? size : 1);
  if (memory == NULL) __builtin_trap();
  return memory;
}

bl_text bl_text_of(const char *text) { return (bl_text){text, strlen(text)}; }

bool bl_same(bl_text a, bl_text b) {
  return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

bl_text bl_join(const bl_text *parts, size_t count) {
  size_t length = 0;
  for (size_t i = 0; i < count; i++) length += parts[i].length;
  char *joined = bl_new(length), *end = joined;
  for (size_t i = 0; i < count; i++) {
    if (parts[i].length > 0) memcpy(end, parts[i].data, parts[i].length);
    end += parts[i].length;
  }
  return (bl_text){joined, length};
}

// Bytes of the character that begins here; 0 if it is no whole one of UTF-8 (RFC 3629, section 4).
static size_t character(const unsigned char *at, size_t left) {
  if (at[0] < 0x80) return 1;
  size_t size = 2 + (at[0] >= 0xE0) + (at[0] >= 0xF0);
  if (at[0] < 0xC2 || at[0] > 0xF4 || left < size) return 0;
  // Neither one that is written longer than needed, nor a half of UTF-16, nor one past the last.
  unsigned char low = at[0] == 0xE0 ? 0xA0 : at[0] == 0xF0 ? 0x90 : 0x80;
  unsigned char high = at[0] == 0xED ? 0x9F : at[0] == 0xF4 ? 0x8F : 0xBF;
  if (at[1] < low || at[1] > high) return 0;
  for (size_t i = 2; i < size; i++) {
    if ((at[i] & 0xC0) != 0x80) return 0;
  }
  return size;
}

bl_text bl_valid(bl_text text) {
  const unsigned char *data = (const unsigned char *)text.data;
  size_t at = 0, size = 1;
  while (at < text.length && size > 0) at += size = character(data + at, text.length - at);
  if (size > 0) return text;
  char *valid = bl_new(3 * text.length), *end = valid;
  for (at = 0; at < text.length; at += size > 0 ? size : 1) {
    size = character(data + at, text.length - at);
    memcpy(end, size > 0 ? text.data + at : "\xEF\xBF\xBD", size > 0 ? size : 3);
    end += size > 0 ? size : 3;
  }
  return (bl_text){valid, (size_t)(end - valid)};
}

bl_text bl_encoded(bl_text part) {
  static const char digits[] = "0123456789ABCDEF";
  char *encoded = bl_new(3 * part.length), *end = encoded;
  for (size_t i = 0; i < part.length; i++) {
    unsigned char c = (unsigned char)part.data[i];
    bool alphanumeric = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    bool plain = alphanumeric || c == '-' || c == '_' || c == '~';
    // A dot is plain, but a path of dots alone leads elsewhere.
    if (plain || (c == '.' && part.length > 2)) {
      *end++ = (char)c;
    } else {
      *end++ = '%';
      *end++ = digits[c >> 4];
      *end++ = digits[c & 15];
    }
  }
  return (bl_text){encoded, (size_t)(end - encoded)};
}

bl_text bl_header_of(const bl_response *response, bl_text name) {
  for (size_t i = 0; i < response->headers_count; i++) {
    if (bl_same(response->headers[i].name, name)) return response->headers[i].value;
  }
  return (bl_text){NULL, 0};
}

bl_error bl_because(bl_class class, bl_text why) {
  bl_error error;
  memset(&error, 0, sizeof error);
  error.class = (uint8_t)class;
  error.of.why = why;
  return error;
}

bl_error bl_throttled(const bl_response *response) {
  bl_error error;
  memset(&error, 0, sizeof error);
  error.class = BL_RATE_LIMITED;
  bl_text wait = bl_header_of(response, BL_TEXT("retry-after"));
  bool digits = wait.length > 0 && wait.length < 10;
  uint32_t seconds = 0;
  for (size_t i = 0; digits && i < wait.length; i++) {
    digits = wait.data[i] >= '0' && wait.data[i] <= '9';
    seconds = 10 * seconds + (uint32_t)(wait.data[i] - '0');
  }
  if (digits) {
    error.of.seconds.known = true;
    error.of.seconds.value = seconds;
  }
  return error;
}

// --- JSON ------------------------------------------------------------------------------------------------------------

typedef struct {
  const char *at;
  const char *end;
} reader;

static void skip_space(reader *r) {
  while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')) r->at++;
}

static bool take(reader *r, char c) {
  skip_space(r);
  if (r->at == r->end || *r->at != c) return false;
  r->at++;
  return true;
}

static bool take_word(reader *r, const char *word) {
  size_t length = strlen(word);
  if ((size_t)(r->end - r->at) < length || memcmp(r->at, word, length) != 0) return false;
  r->at += length;
  return true;
}

static bool is_digit(const reader *r) { return r->at < r->end && *r->at >= '0' && *r->at <= '9'; }

static bool read_digits(reader *r) {
  if (!is_digit(r)) return false;
  while (is_digit(r)) r->at++;
  return true;
}

static bool read_number(reader *r, bl_text *text) {
  const char *start = r->at;
  if (r->at < r->end && *r->at == '-') r->at++;
  if (r->at < r->end && *r->at == '0') {
    r->at++;
  } else if (!read_digits(r)) {
    return false;
  }
  if (r->at < r->end && *r->at == '.') {
    r->at++;
    if (!read_digits(r)) return false;
  }
  if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
    r->at++;
    if (r->at < r->end && (*r->at == '+' || *r->at == '-')) r->at++;
    if (!read_digits(r)) return false;
  }
  *text = (bl_text){start, (size_t)(r->at - start)};
  return true;
}

static bool read_hex(reader *r, uint32_t *code) {
  if (r->end - r->at < 4) return false;
  *code = 0;
  for (int i = 0; i < 4; i++) {
    char c = *r->at++;
    uint32_t digit;
    if (c >= '0' && c <= '9') {
      digit = (uint32_t)(c - '0');
    } else if ((c | 32) >= 'a' && (c | 32) <= 'f') {
      digit = (uint32_t)((c | 32) - 'a' + 10);
    } else {
      return false;
    }
    *code = *code * 16 + digit;
  }
  return true;
}

static char *put_utf8(char *end, uint32_t code) {
  if (code < 0x80) {
    *end++ = (char)code;
    return end;
  }
  if (code < 0x800) {
    *end++ = (char)(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) {
      *end++ = (char)(0xE0 | code >> 12);
    } else {
      *end++ = (char)(0xF0 | code >> 18);
      *end++ = (char)(0x80 | (code >> 12 & 63));
    }
    *end++ = (char)(0x80 | (code >> 6 & 63));
  }
  *end++ = (char)(0x80 | (code & 63));
  return end;
}

// A string's characters. What stands for half a character becomes U+FFFD.
static bool read_string(reader *r, bl_text *text) {
  if (!take(r, '"')) return false;
  const char *close = r->at;
  while (close < r->end && *close != '"') close += *close == '\\' ? 2 : 1;
  if (close >= r->end) return false;
  char *characters = bl_new((size_t)(close - r->at)), *end = characters;
  while (*r->at != '"') {
    char c = *r->at++;
    if ((unsigned char)c < 0x20) return false;
    if (c != '\\') {
      *end++ = c;
      continue;
    }
    c = *r->at++;
    static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *escape = c != '\0' ? strchr(escapes, c) : NULL;
    if (escape != NULL) {
      *end++ = meant[escape - escapes];
      continue;
    }
    uint32_t code, low;
    if (c != 'u' || !read_hex(r, &code)) return false;
    if (code >= 0xD800 && code < 0xDC00) {
      reader ahead = *r;
      if (take_word(&ahead, "\\u") && read_hex(&ahead, &low) && low >= 0xDC00 && low < 0xE000) {
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        *r = ahead;
      }
    }
    end = put_utf8(end, code >= 0xD800 && code < 0xE000 ? 0xFFFD : code);
  }
  r->at++;
  *text = (bl_text){characters, (size_t)(end - characters)};
  return true;
}

static bool read_value(reader *r, bl_json *json, int depth) {
  skip_space(r);
  if (depth > DEPTH_MAX || r->at == r->end) return false;
  switch (*r->at) {
    case 'n': json->kind = BL_NULL; return take_word(r, "null");
    case 't': json->kind = BL_BOOL; json->text = BL_TEXT("true"); return take_word(r, "true");
    case 'f': json->kind = BL_BOOL; json->text = BL_TEXT("false"); return take_word(r, "false");
    case '"': json->kind = BL_STRING; return read_string(r, &json->text);
    case '[':
    case '{': break;
    default: json->kind = BL_NUMBER; return read_number(r, &json->text);
  }
  bool is_object = *r->at++ == '{';
  char close = is_object ? '}' : ']';
  json->kind = is_object ? BL_OBJECT : BL_LIST;
  if (take(r, close)) return true;
  bl_json **last = &json->first;
  do {
    bl_json *item = bl_new(sizeof *item);
    if (is_object && !(read_string(r, &item->key) && take(r, ':'))) return false;
    if (!read_value(r, item, depth + 1)) return false;
    *last = item;
    last = &item->next;
  } while (take(r, ','));
  return take(r, close);
}

const bl_json *bl_parse(bl_text text) {
  if (text.length == 0) return NULL;
  reader r = {text.data, text.data + text.length};
  bl_json *json = bl_new(sizeof *json);
  if (!read_value(&r, json, 0)) return NULL;
  skip_space(&r);
  return r.at == r.end ? json : NULL;
}

const bl_json *bl_get(const bl_json *json, const char *key) {
  static const bl_json none = {BL_NONE, {NULL, 0}, {NULL, 0}, NULL, NULL};
  const bl_json *found = &none;
  bl_text wanted = bl_text_of(key);
  if (json == NULL || json->kind != BL_OBJECT) return found;
  // Of a field that stands there twice the last one counts, as in most readers.
  for (const bl_json *field = json->first; field != NULL; field = field->next) {
    if (bl_same(field->key, wanted)) found = field;
  }
  return found;
}

bool bl_count(const bl_json *json, int64_t *count) {
  if ((json->kind != BL_NUMBER && json->kind != BL_STRING) || json->text.length == 0) return false;
  int64_t value = 0;
  for (size_t i = 0; i < json->text.length; i++) {
    char c = json->text.data[i];
    if (c < '0' || c > '9') return false;
    if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, c - '0', &value)) return false;
  }
  *count = value;
  return true;
}

// --- Dates and metrics -----------------------------------------------------------------------------------------------

bool bl_day(bl_text text, int64_t *seconds) {
  if (text.length != 10 || text.data[4] != '-' || text.data[7] != '-') return false;
  int64_t parts[3] = {0, 0, 0};
  for (size_t i = 0, part = 0; i < 10; i++) {
    char c = text.data[i];
    if (i == 4 || i == 7) {
      part++;
    } else if (c >= '0' && c <= '9') {
      parts[part] = 10 * parts[part] + (c - '0');
    } else {
      return false;
    }
  }
  static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  int64_t year = parts[0], month = parts[1], day = parts[2];
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  if (year < 1 || month < 1 || month > 12 || day < 1 || day > days[month - 1] + (leap && month == 2)) return false;
  // Days since 1970 in the Gregorian calendar, with years that begin in March (H. Hinnant, "chrono-compatible
  // low-level date algorithms").
  int64_t y = month > 2 ? year : year - 1;
  int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  int64_t since = 365 * y + y / 4 - y / 100 + y / 400 + of_year - 719468;
  *seconds = 86400 * since;
  return true;
}

bl_metric bl_integer(bl_text name, int64_t value) {
  bl_metric metric;
  memset(&metric, 0, sizeof metric);
  metric.name = name;
  metric.value.of.value.kind = BL_INTEGER;
  metric.value.of.value.of.integer = value;
  return metric;
}

bl_metric bl_absent(bl_text name, bl_absence absence) {
  bl_metric metric;
  memset(&metric, 0, sizeof metric);
  metric.name = name;
  metric.value.absent = true;
  metric.value.of.absence = (uint8_t)absence;
  return metric;
}

bl_metric bl_counted(bl_text name, const bl_json *json, bl_absence absence) {
  int64_t count;
  return bl_count(json, &count) ? bl_integer(name, count) : bl_absent(name, absence);
}
