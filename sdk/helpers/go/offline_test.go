package backline

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

const me = "https://a.test/me"

// exchangeOf is a file of a recording: a request for me with this credential, and an answer with this number.
func exchangeOf(credential string, number int) string {
	return fmt.Sprintf(`{"request": {"method": "GET", "url": "%s"%s}, "answer": {"json": %d}}`, me, credential, number)
}

// ownedBy is the credential of an account.
func ownedBy(account string) string {
	return `, "credential": {"slot": "user", "account": "` + account + `"}`
}

func recordingOf(t *testing.T, account string, exchanges ...string) Recording {
	folder := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("recording.json", `{"format": 1, "connector": "example 1.0.0", "account": "`+account+`", "settings": {"a": 1},
		"observed_at": "2026-11-28T12:00:00.25Z",
		"window": {"since": "2026-10-31T12:00:00Z", "until": "2026-11-28T12:00:00Z"}}`)
	for i, text := range exchanges {
		write(fmt.Sprintf("%03d.json", i), text)
	}
	return ReadRecording(t, folder)
}

func asking(account string) Request {
	return Request{Method: Get, URL: me, Slot: "user", Account: account}
}

func TestARecordingIsReadAsItWasMade(t *testing.T) {
	recording := recordingOf(t, "a1")
	account := recording.Account
	if account.ID != "account-a1" || account.PlatformID != "a1" || account.Settings != `{"a": 1}` {
		t.Error(account)
	}
	if recording.Window != (Window{1793448000, 1795867200}) || recording.ObservedAt != 1795867200 {
		t.Error(recording.Window, recording.ObservedAt)
	}
}

func TestEachAccountGetsItsOwnAnswersInTurn(t *testing.T) {
	// Older recordings do not say whose credential it was.
	for _, saysSo := range []bool{true, false} {
		of := func(account string) string {
			if saysSo {
				return ownedBy(account)
			}
			return ""
		}
		Replay(t,
			recordingOf(t, "a1", exchangeOf(of("a1"), 11), exchangeOf(of("a1"), 12)),
			recordingOf(t, "a2", exchangeOf(of("a2"), 21)))
		for _, tried := range []struct{ account, expected string }{
			{"account-a2", "21"}, {"account-a1", "11"}, {"account-a2", "21"}, {"account-a1", "12"}, {"account-a1", "12"},
		} {
			response, err := Send(asking(tried.account))
			if err != nil || response.Status != 200 || string(response.Body) != tried.expected {
				t.Error(saysSo, tried, response, err)
			}
		}
	}
}

// failing is a test that notes what it would have failed with.
type failing struct {
	*testing.T
	said string
}

func (t *failing) Fatalf(format string, args ...any) { t.said = fmt.Sprintf(format, args...) }

func TestWhatIsNotRecordedFailsTheTest(t *testing.T) {
	post := `{"request": {"method": "POST", "url": "` + me + `", "body": "{}"}, "answer": {"status": 201}}`
	noted := &failing{T: t}
	Replay(noted, recordingOf(t, "a1", exchangeOf(ownedBy("a1"), 1), post))
	for name, request := range map[string]Request{
		"another account":    asking("account-a2"),
		"no credential":      {Method: Get, URL: me},
		"another address":    {Method: Get, URL: me + "/more", Slot: "user", Account: "account-a1"},
		"another method":     {Method: Head, URL: me, Slot: "user", Account: "account-a1"},
		"another body":       {Method: Post, URL: me, Body: []byte("[]")},
		"no body":            {Method: Post, URL: me},
		"a body for nothing": {Method: Get, URL: me, Body: []byte{}, Slot: "user", Account: "account-a1"},
	} {
		noted.said = ""
		if response, err := Send(request); err == nil || noted.said == "" {
			t.Error(name, response, err, noted.said)
		}
	}
	noted.said = ""
	response, err := Send(Request{Method: Post, URL: me, Body: []byte("{}")})
	if err != nil || response.Status != 201 || noted.said != "" {
		t.Error(response, err, noted.said)
	}
}

func TestErrorsHeadersAndTextsAreReplayed(t *testing.T) {
	limited := `"answer": {"status": 429, "headers": {"retry-after": "17", "etag": "x"}, "text": "slow down"}}`
	with := func(answer string) string { return `{"request": {"method": "GET", "url": "` + me + `"}, ` + answer }
	Replay(t, recordingOf(t, "a1", with(limited), with(`"answer": {"error": "timed-out"}}`)))
	response, err := Send(Request{Method: Get, URL: me})
	if err != nil || response.Status != 429 || string(response.Body) != "slow down" {
		t.Error(response, err)
	}
	if response.Header("retry-after") != "17" || len(response.Headers) != 2 {
		t.Error(response.Headers)
	}
	if _, err := Send(Request{Method: Get, URL: me}); failureOf(err).Class != Unavailable {
		t.Error(err)
	}
}
