// Tests without a host: `go test ./...`. backline.Send answers from `answers/`, or from a table.
package main

import (
	"testing"

	"example.com/my-connector/backline"
)

// 2026-10-31 to 2026-11-28, 12:00 UTC.
var window = backline.Window{Since: 1793448000, Until: 1795867200}

func recordings(t *testing.T) []backline.Recording {
	var all []backline.Recording
	for _, account := range []string{"a1", "a2", "a3"} {
		all = append(all, backline.ReadRecording(t, "answers/"+account))
	}
	return all
}

func metrics(t *testing.T, body string) map[string]backline.Metric {
	document := backline.Document{Body: []byte(body), Window: window, ObservedAt: window.Until}
	return backline.Metrics(t, connector{}, document)
}

func TestTheRecordedAnswersGiveTheseNumbers(t *testing.T) {
	expected := [][2]backline.Value{{int64(120345), int64(1)}, {nil, int64(0)}, {int64(3331930783), int64(1)}}
	for i, recording := range recordings(t) {
		account, found := recording.Account.PlatformID, backline.Collect(t, connector{}, recording)
		if found["followers"].Value != expected[i][0] || found["recent_releases"].Value != expected[i][1] {
			t.Error(account, found)
		}
		if found["streams"].Value != nil || found["streams"].Absence != backline.NotOffered {
			t.Error(account, found["streams"])
		}
	}
}

func TestEachAccountOfABatchGetsItsOwnAnswer(t *testing.T) {
	all := recordings(t)
	backline.Replay(t, all...)
	batch := []backline.Account{all[2].Account, all[0].Account, all[1].Account}
	for i, answer := range (connector{}).Fetch(batch, backline.Context{Window: window}) {
		if answer.Err != nil {
			t.Fatal(batch[i].PlatformID, answer.Err)
		}
		artist, _ := backline.Parse(answer.Body)
		if id, _ := backline.Text(backline.Field(artist, "id")); id != batch[i].PlatformID {
			t.Error(batch[i].PlatformID, id)
		}
	}
}

func TestOneArtistsFailureDoesNotAffectOthers(t *testing.T) {
	wait := []backline.Header{{Name: "retry-after", Value: "17"}}
	backline.Answering(t, map[string]backline.Response{
		"https://api.example.com/v1/artists/a1": {Status: 429, Headers: wait},
		"https://api.example.com/v1/artists/a2": {Status: 200, Body: []byte(`{"id": "a2", "followers": 7}`)},
	})
	batch := []backline.Account{{ID: "account-a1", PlatformID: "a1"}, {ID: "account-a2", PlatformID: "a2"}}
	answers := connector{}.Fetch(batch, backline.Context{Window: window})
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
