//go:build !wasip1

// For tests without a host: the answers that `backline plugins try --record` wrote, or a table of them.

package backline

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// T is what these helpers need of a *testing.T.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Recording is one account's recorded answers.
type Recording struct {
	Account    Account
	Window     Window
	ObservedAt int64
	exchanges  []exchange
}

// exchange is a file of a recording: a request and its answer.
type exchange struct {
	Request struct {
		Method     string
		URL        string
		Body       *string
		Credential *struct {
			Slot    string
			Account string
		}
	}
	Answer struct {
		Status  uint16
		Headers map[string]string
		JSON    json.RawMessage
		Text    string
		Error   string
	}
}

var methods = [...]string{Get: "GET", Head: "HEAD", Post: "POST", Put: "PUT", Patch: "PATCH", Delete: "DELETE"}

// ReadRecording reads a folder that `backline plugins try --record` wrote.
func ReadRecording(t T, folder string) Recording {
	t.Helper()
	var about struct {
		Account    string
		Settings   json.RawMessage
		ObservedAt time.Time `json:"observed_at"`
		Window     struct{ Since, Until time.Time }
	}
	readJSON(t, filepath.Join(folder, "recording.json"), &about)
	recording := Recording{
		Account:    Account{ID: "account-" + about.Account, PlatformID: about.Account, Settings: string(about.Settings)},
		Window:     Window{Since: about.Window.Since.Unix(), Until: about.Window.Until.Unix()},
		ObservedAt: about.ObservedAt.Unix(),
	}
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatalf("%v", err)
	}
	for _, file := range files {
		if filepath.Ext(file.Name()) == ".json" && file.Name() != "recording.json" {
			var one exchange
			readJSON(t, filepath.Join(folder, file.Name()), &one)
			recording.exchanges = append(recording.exchanges, one)
		}
	}
	return recording
}

func readJSON(t T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// turn is an answer that a request may get.
type turn struct {
	account string // the platform's id of the account whose recording it is from
	exchange
	given bool
}

// Replay lets Send answer from recordings until the test ends. A request gets an answer only if it was recorded with
// the same method, URL and body, and not with the credential of another account: any other fails the test. One that was
// recorded several times gets its answers in turn, and then the last one again.
func Replay(t T, recordings ...Recording) {
	t.Helper()
	platformIDs := map[string]string{}
	var turns []*turn
	for _, recording := range recordings {
		platformIDs[recording.Account.ID] = recording.Account.PlatformID
		for _, one := range recording.exchanges {
			turns = append(turns, &turn{account: recording.Account.PlatformID, exchange: one})
		}
	}
	sending(t, func(request Request) (Response, error) {
		account, known := platformIDs[request.Account]
		if !known {
			account = request.Account
		}
		fitting := fittingTurns(turns, request, account)
		if len(fitting) == 0 {
			t.Fatalf("%s %s is not recorded, or with another account's credential", methods[request.Method], request.URL)
			return Response{}, Because(Unexpected, "it is not recorded")
		}
		if len(fitting) > 1 {
			fitting[0].given = true
		}
		return fitting[0].replayed()
	})
}

// Answering lets Send answer by URL until the test ends; a request that is not in the table fails the test.
func Answering(t T, answers map[string]Response) {
	t.Helper()
	sending(t, func(request Request) (Response, error) {
		answer, known := answers[request.URL]
		if !known {
			t.Fatalf("the test has no answer to %s", request.URL)
			return Response{}, Because(Unexpected, "the test has no such answer")
		}
		return answer, nil
	})
}

func sending(t T, send func(Request) (Response, error)) {
	before := Send
	t.Cleanup(func() { Send = before })
	Send = send
}

// fittingTurns gives the answers to a request that are for its credential: those that were recorded with it, or else
// what does not say that it is another account's, and of that what is from the account's own recording.
func fittingTurns(turns []*turn, request Request, account string) []*turn {
	var fitting []*turn
	best := 0
	for _, one := range turns {
		rank := one.rank(request, account)
		if rank > best {
			best, fitting = rank, nil
		}
		if rank == best {
			fitting = append(fitting, one)
		}
	}
	return fitting
}

// rank says how well an answer fits; -1 if it is not for this request.
func (one *turn) rank(request Request, account string) int {
	asked, body := one.Request, one.Request.Body
	isSame := asked.Method == methods[request.Method] && asked.URL == request.URL
	if body == nil {
		isSame = isSame && request.Body == nil
	} else {
		isSame = isSame && request.Body != nil && *body == string(request.Body)
	}
	if one.given || !isSame {
		return -1
	}
	if asked.Credential != nil {
		owner := asked.Credential.Account
		if owner != "" && owner != account {
			return -1
		}
		if asked.Credential.Slot == request.Slot && owner == account {
			return 2
		}
	}
	if account != "" && one.account == account {
		return 1
	}
	return 0
}

func (one exchange) replayed() (Response, error) {
	answer := one.Answer
	switch answer.Error {
	case "":
	case "too-large":
		return Response{}, Because(Unexpected, "the answer is too large, as it was recorded")
	default:
		return Response{}, Because(Unavailable, answer.Error+", as it was recorded")
	}
	response := Response{Status: 200, Body: []byte(answer.Text)}
	if answer.Status != 0 {
		response.Status = answer.Status
	}
	if len(answer.JSON) > 0 && string(answer.JSON) != "null" {
		response.Body = answer.JSON
	}
	for _, name := range slices.Sorted(maps.Keys(answer.Headers)) {
		response.Headers = append(response.Headers, Header{Name: name, Value: answer.Headers[name]})
	}
	return response, nil
}

// Collect gives the metrics of a recorded account by their names: what Fetch makes of its recording, and Normalize of
// that at the time of the recording.
func Collect(t T, connector Connector, recording Recording) map[string]Metric {
	t.Helper()
	Replay(t, recording)
	answers := connector.Fetch([]Account{recording.Account}, Context{Window: recording.Window})
	if len(answers) != 1 || answers[0].Err != nil {
		t.Fatalf("%s: %+v", recording.Account.PlatformID, answers)
		return nil
	}
	return Metrics(t, connector, Document{answers[0].Body, recording.Window, recording.ObservedAt})
}

// Metrics gives what Normalize makes of a document, by the names of the metrics.
func Metrics(t T, connector Connector, document Document) map[string]Metric {
	t.Helper()
	snapshot, err := connector.Normalize(document)
	if err != nil {
		t.Fatalf("%v", err)
	}
	found := map[string]Metric{}
	for _, metric := range snapshot.Metrics {
		found[metric.Name] = metric
	}
	return found
}
