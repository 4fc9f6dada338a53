// Backline connector for Example: one request per artist.
package main

import "example.com/my-connector/backline"

// Credential slot in the manifest.
const slot = "app"

type connector struct{}

func init() { backline.Export(connector{}) }

// A component has no main program; Go wants one all the same.
func main() {}

func (connector) Check(account backline.Account) (string, error) {
	body, err := artist(account)
	if err != nil {
		return "", err
	}
	parsed, _ := backline.Parse(body)
	name, ok := backline.Text(backline.Field(parsed, "name"))
	if !ok {
		return "", backline.Because(backline.Unexpected, "the artist has no name")
	}
	return name, nil
}

func (connector) Fetch(accounts []backline.Account, _ backline.Context) []backline.Answer {
	return backline.Each(accounts, artist)
}

// Every metric of the catalogue, as a value or as the reason why there is none. Missing is never zero.
func (connector) Normalize(document backline.Document) (backline.Snapshot, error) {
	artist, err := backline.Parse(document.Body)
	if err != nil {
		return backline.Snapshot{}, err
	}
	return backline.Snapshot{Metrics: []backline.Metric{
		backline.Counted("followers", backline.Field(artist, "followers"), backline.Hidden),
		backline.Absent("streams", backline.NotOffered),
		recentReleases(backline.Field(artist, "releases"), document.Window),
	}}, nil
}

// artist gives an artist's answer as the platform sent it, once it was recognised as an artist.
func artist(account backline.Account) ([]byte, error) {
	url := "https://api.example.com/v1/artists/" + backline.Encoded(account.PlatformID)
	response, err := backline.Send(backline.Request{Method: backline.Get, URL: url, Slot: slot})
	if err != nil {
		return nil, err
	}
	if response.Status != 200 {
		return nil, refusal(response)
	}
	parsed, err := backline.Parse(response.Body)
	if err != nil {
		return nil, backline.Because(backline.Unavailable, "the response is not JSON")
	}
	// A body of another shape must not be taken for an artist without numbers.
	if _, ok := backline.Text(backline.Field(parsed, "id")); !ok {
		return nil, backline.Because(backline.Unexpected, "the response is not an artist")
	}
	return response.Body, nil
}

// refusal gives the class of a refused request.
func refusal(response backline.Response) backline.Failure {
	switch status := response.Status; {
	case status == 401:
		// An API key can't be refreshed, so a refused one means that the operator's configuration is wrong.
		return backline.Because(backline.Misconfigured, "HTTP 401")
	case status == 403:
		return backline.Because(backline.Forbidden, "HTTP 403")
	case status == 404 || status == 410:
		return backline.Because(backline.NotFound, "")
	case status == 429:
		return backline.Throttled(response)
	case status >= 500:
		return backline.Because(backline.Unavailable, "the platform failed")
	default:
		return backline.Because(backline.Unexpected, "a status that is not documented")
	}
}

// recentReleases counts the releases inside the window. A date of a month or a year only counts as skipped.
func recentReleases(releases any, window backline.Window) backline.Metric {
	list, ok := releases.([]any)
	// A missing list is not an empty one.
	if !ok {
		return backline.Absent("recent_releases", backline.UnavailableNow)
	}
	var coverage backline.Coverage
	for _, release := range list {
		date, _ := backline.Text(backline.Field(release, "date"))
		if day, ok := backline.Day(date); !ok {
			coverage.Skipped++
		} else if window.Since <= day && day < window.Until {
			coverage.Counted++
		}
	}
	metric := backline.Integer("recent_releases", int64(coverage.Counted))
	metric.Coverage = &coverage
	return metric
}
