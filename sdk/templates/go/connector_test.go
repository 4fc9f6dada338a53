// Tests without a host: `go test ./...`. backline.Send answers from a table.
package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"example.com/my-connector/backline"
)

// 2026-10-31 to 2026-11-28, 12:00 UTC.
var window = backline.Window{Since: 1793448000, Until: 1795867200}

func answering(answers map[string]backline.Response) {
	backline.Send = func(request backline.Request) (backline.Response, error) {
		if answer, ok := answers[request.URL]; ok {
			return answer, nil
		}
		return backline.Response{}, backline.Because(backline.Unexpected, "the test has no such answer")
	}
}

// recorded reads the answers in `answers/`.
func recorded(t *testing.T, account string) map[string]backline.Response {
	answers := map[string]backline.Response{}
	files, _ := filepath.Glob(filepath.Join("answers", account, "[0-9]*.json"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var one struct {
			Request struct{ URL string }
			Answer  struct {
				Status uint16
				JSON   json.RawMessage
			}
		}
		if err := json.Unmarshal(text, &one); err != nil {
			t.Fatal(err)
		}
		answers[one.Request.URL] = backline.Response{Status: one.Answer.Status, Body: one.Answer.JSON}
	}
	return answers
}

func fetch(accounts ...string) []backline.Answer {
	var batch []backline.Account
	for _, account := range accounts {
		batch = append(batch, backline.Account{ID: "account-" + account, PlatformID: account, Settings: "{}"})
	}
	return connector{}.Fetch(batch, backline.Context{Window: window})
}

func metrics(t *testing.T, body string) map[string]backline.Metric {
	document := backline.Document{Body: []byte(body), Window: window, ObservedAt: window.Until}
	snapshot, err := connector{}.Normalize(document)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]backline.Metric{}
	for _, metric := range snapshot.Metrics {
		found[metric.Name] = metric
	}
	return found
}

func TestTheRecordedAnswersGiveTheseNumbers(t *testing.T) {
	for account, expected := range map[string][2]backline.Value{
		"a1": {int64(120345), int64(1)},
		"a2": {nil, int64(0)},
		"a3": {int64(3331930783), int64(1)},
	} {
		answering(recorded(t, account))
		answer := fetch(account)[0]
		if answer.Err != nil {
			t.Fatal(account, answer.Err)
		}
		found := metrics(t, string(answer.Body))
		if found["followers"].Value != expected[0] || found["recent_releases"].Value != expected[1] {
			t.Error(account, found)
		}
		if found["streams"].Value != nil || found["streams"].Absence != backline.NotOffered {
			t.Error(account, found["streams"])
		}
	}
}

func TestOneArtistsFailureDoesNotAffectOthers(t *testing.T) {
	wait := []backline.Header{{Name: "retry-after", Value: "17"}}
	answering(map[string]backline.Response{
		"https://api.example.com/v1/artists/a1": {Status: 429, Headers: wait},
		"https://api.example.com/v1/artists/a2": {Status: 200, Body: []byte(`{"id": "a2", "followers": 7}`)},
	})
	answers := fetch("a1", "a2")
	failure, ok := answers[0].Err.(backline.Failure)
	if !ok || failure.Class != backline.RateLimited || failure.Seconds == nil || *failure.Seconds != 17 {
		t.Error(answers[0].Err)
	}
	if value := metrics(t, string(answers[1].Body))["followers"].Value; value != int64(7) {
		t.Error(value)
	}
}

func TestWhatIsNoCountIsMissingAndNeverZero(t *testing.T) {
	for _, value := range []string{"null", `"many"`, "-1", "1.5", "true", "[]", "9223372036854775808", `""`} {
		followers := metrics(t, `{"id": "a1", "followers": `+value+`}`)["followers"]
		if followers.Value != nil || followers.Absence != backline.Hidden {
			t.Error(value, followers)
		}
	}
}

func TestAnIDCanNotReachAnotherAddress(t *testing.T) {
	for id, encoded := range map[string]string{"a/../b?c=1&d#e": "a%2F..%2Fb%3Fc%3D1%26d%23e", "..": "%2E%2E"} {
		if backline.Encoded(id) != encoded {
			t.Error(id, backline.Encoded(id))
		}
	}
}
