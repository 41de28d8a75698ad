package explain

import (
	"testing"
	"time"

	"welcomed/delivery"
)

// What is over moves behind the line of its age, and keeps its order there; a refusal that
// nothing came after is still said, but does not outweigh what is so now.
func TestWhatIsOlderComesLater(t *testing.T) {
	x := explainer{Facts{Now: time.Now()}}
	hours := func(n int) time.Time { return x.Now.Add(-time.Duration(n) * time.Hour) }
	joined := Device{}
	joined.Welcomes = []delivery.RecipientHistory{{}}
	joined.Welcomes[0].State, joined.Welcomes[0].PostedAt = delivery.Acknowledged, hours(1)
	ended := func(at time.Time) (m delivery.RecipientHistory) {
		m.PostedAt, m.EndedAt = at, at
		return m
	}
	for what, ranks := range map[string][]rank{
		"what is over": {
			x.aged(hours(1), lost), x.aged(hours(1), deviceRejected), worthSaying, notFetchedYet,
			x.aged(hours(30), lost), x.aged(hours(30), deviceRejected), lastResortOnly,
			x.aged(hours(200), lost), x.aged(hours(200), deviceRejected), standing,
		},
		"a Welcome after which the device has joined": {
			x.over(Device{}, ended(hours(2)), lost), worthSaying, x.over(joined, ended(hours(2)), lost), lastResortOnly,
			x.over(joined, ended(hours(30)), lost), standing,
		},
		"a refusal": {
			x.refusal(hours(1), neededRefused), passedOver, x.refusal(hours(30), neededRefused), worthDoing, shelfEmpty,
			x.refusal(hours(200), neededRefused), worthSaying,
		},
		"what has its place behind a line already": {x.aged(hours(30), lapsed), strangerRefused, x.aged(hours(200), strangerRefused), nothingWrong},
	} {
		for i := 1; i < len(ranks); i++ {
			if ranks[i-1] >= ranks[i] {
				t.Errorf("%s: %d does not come before %d, place %d", what, ranks[i-1], ranks[i], i)
			}
		}
	}
}
