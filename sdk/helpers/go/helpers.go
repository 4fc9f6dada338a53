package backline

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Encoded is a part of a URL, with everything encoded that has a meaning there.
func Encoded(part string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~"
	var encoded strings.Builder
	for i := 0; i < len(part); i++ {
		c := part[i]
		// A dot is plain, but a path of dots alone leads elsewhere.
		if strings.IndexByte(plain, c) >= 0 || (c == '.' && len(part) > 2) {
			encoded.WriteByte(c)
			continue
		}
		const digits = "0123456789ABCDEF"
		encoded.Write([]byte{'%', digits[c>>4], digits[c&15]})
	}
	return encoded.String()
}

// Because is a failure with its reason.
func Because(class Class, why string) Failure { return Failure{Class: class, Why: why} }

// Throttled is RateLimited with the seconds of retry-after, where they were given.
func Throttled(response Response) Failure {
	failure := Failure{Class: RateLimited}
	if seconds, err := strconv.ParseUint(response.Header("retry-after"), 10, 32); err == nil {
		known := uint32(seconds)
		failure.Seconds = &known
	}
	return failure
}

// Parse reads JSON and keeps its numbers as they were written: a float has no room for 64 bits.
func Parse(text []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after the JSON")
	}
	return value, nil
}

// Field of an object; nil if there is none, or it is null.
func Field(value any, name string) any {
	object, _ := value.(map[string]any)
	return object[name]
}

// Text is a string of JSON.
func Text(value any) (string, bool) {
	text, ok := value.(string)
	return text, ok
}

// Count is a count as platforms send it: a whole number from 0 to 2^63-1, or one in a string.
func Count(value any) (int64, bool) {
	text, ok := value.(string)
	if number, isNumber := value.(json.Number); isNumber {
		text, ok = number.String(), true
	}
	if !ok || text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	count, err := strconv.ParseInt(text, 10, 64)
	return count, err == nil
}

// Day is the start of a calendar date such as 2026-11-20 in seconds since 1970, UTC; false for one of a month or a
// year.
func Day(text string) (int64, bool) {
	day, err := time.Parse("2006-01-02", text)
	return day.Unix(), err == nil && len(text) == 10
}

// Integer is a metric with a value.
func Integer(name string, value int64) Metric { return Metric{Name: name, Value: value} }

// Absent is a metric without a value.
func Absent(name string, absence Absence) Metric { return Metric{Name: name, Absence: absence} }

// Counted is a metric of a count, or absent where there is none.
func Counted(name string, value any, absence Absence) Metric {
	if count, ok := Count(value); ok {
		return Integer(name, count)
	}
	return Absent(name, absence)
}

// Named is what one request answered for one account: the platform's id, and the document or the error under it.
type Named struct {
	ID   string
	Body []byte
	Err  error
}

// Batch asks for at most atMost accounts with one request. fetch gets the platform's ids, each once and sorted, and
// answers with one Named for each account that the platform sent, in any order. An account that is not among them does
// not exist, unless the answer names others instead: it may be there under another id. An object whose id can't be read
// is one of these; give it no ID. One that is there twice is not what it seems to be. A failure that concerns every
// further request ends the batch.
func Batch(accounts []Account, atMost int, fetch func(ids []string) ([]Named, error)) []Answer {
	var ids []string
	for _, account := range accounts {
		ids = append(ids, account.PlatformID)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	found := map[string]Answer{}
	var stopped error
	for asked := range slices.Chunk(ids, max(atMost, 1)) {
		var named []Named
		err := stopped
		if err == nil {
			named, err = fetch(asked)
		}
		if err == nil {
			assign(found, asked, named)
		} else {
			for _, id := range asked {
				found[id] = Answer{Err: err}
			}
			if concernsAll(err) {
				stopped = err
			}
		}
	}
	answers := make([]Answer, len(accounts))
	for i, account := range accounts {
		answer, ok := found[account.PlatformID]
		if !ok {
			answer = Answer{Err: Because(NotFound, "")}
		}
		answers[i] = answer
	}
	return answers
}

func assign(found map[string]Answer, asked []string, named []Named) {
	namesOthers := false
	for _, one := range named {
		if one.ID == "" || !slices.Contains(asked, one.ID) {
			namesOthers = true
			continue
		}
		if _, twice := found[one.ID]; twice {
			found[one.ID] = Answer{Err: Because(Unexpected, "the answer names the account twice")}
		} else {
			found[one.ID] = Answer{Body: one.Body, Err: one.Err}
		}
	}
	if !namesOthers {
		return
	}
	for _, id := range asked {
		if _, ok := found[id]; !ok {
			found[id] = Answer{Err: Because(Unexpected, "the answer names others, and not this account")}
		}
	}
}

// concernsAll says whether every further request with the same credential would fail in the same way.
func concernsAll(err error) bool {
	switch failureOf(err).Class {
	case Misconfigured, QuotaExhausted, RateLimited, Reconnect, Unauthorized:
		return true
	default:
		return false
	}
}
