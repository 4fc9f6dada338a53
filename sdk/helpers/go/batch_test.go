package backline

import (
	"slices"
	"testing"
)

// outcomes gives what each account got: its document, or the word error.
func outcomes(ids []string, atMost int, fetch func([]string) ([]Named, error)) []string {
	var accounts []Account
	for _, id := range ids {
		accounts = append(accounts, Account{ID: "account-" + id, PlatformID: id})
	}
	var shown []string
	for _, answer := range Batch(accounts, atMost, fetch) {
		if answer.Err != nil {
			shown = append(shown, "error")
		} else {
			shown = append(shown, string(answer.Body))
		}
	}
	return shown
}

func named(ids ...string) []Named {
	var all []Named
	for _, id := range ids {
		all = append(all, Named{ID: id, Body: []byte("of " + id)})
	}
	return all
}

func TestABatchGivesEachAccountWhatNamesIt(t *testing.T) {
	answering := func(ids ...string) func([]string) ([]Named, error) {
		return func([]string) ([]Named, error) { return named(ids...), nil }
	}
	failing := func(class Class) func([]string) ([]Named, error) {
		return func(ids []string) ([]Named, error) {
			if ids[0] == "b" {
				return nil, Because(class, "")
			}
			return named(ids...), nil
		}
	}
	for name, tried := range map[string]struct{ found, expected []string }{
		"any order": {outcomes([]string{"c", "a", "b", "a"}, 50, answering("b", "other", "a")),
			[]string{"error", "of a", "of b", "of a"}},
		"twice":       {outcomes([]string{"a", "b"}, 50, answering("a", "a", "b")), []string{"error", "of b"}},
		"instead":     {outcomes([]string{"a", "b"}, 50, answering("x", "b")), []string{"error", "of b"}},
		"without id":  {outcomes([]string{"a", "b", ""}, 50, answering("", "b")), []string{"error", "of b", "error"}},
		"others only": {outcomes([]string{"a", "b"}, 50, answering("x")), []string{"error", "error"}},
		"one fails":   {outcomes([]string{"a", "b", "c"}, 1, failing(Unavailable)), []string{"of a", "error", "of c"}},
		"limited":     {outcomes([]string{"a", "b", "c"}, 1, failing(RateLimited)), []string{"of a", "error", "error"}},
	} {
		if !slices.Equal(tried.found, tried.expected) {
			t.Error(name, tried.found)
		}
	}
}
