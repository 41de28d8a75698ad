package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"welcomed/delivery"
)

// A Secret is what a webhook is signed with. Its receiver has it, too.
type Secret []byte

const (
	secretPrefix = "whsec_"
	// The specification wants secrets of these lengths.
	shortestSecret, longestSecret = 24, 64
)

// ParseSecrets reads secrets as in whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD, with white space
// between them. While a secret is replaced there are two, and each message is signed with
// both. No error has a secret in it.
func ParseSecrets(text string) (secrets []Secret, err error) {
	for i, word := range strings.Fields(text) {
		encoded, ok := strings.CutPrefix(word, secretPrefix)
		secret, err := base64.StdEncoding.DecodeString(encoded)
		switch {
		case !ok:
			return nil, fmt.Errorf("secret %d does not begin with %s", i+1, secretPrefix)
		case err != nil:
			return nil, fmt.Errorf("secret %d is not Base64 behind %s", i+1, secretPrefix)
		case len(secret) < shortestSecret || len(secret) > longestSecret:
			return nil, fmt.Errorf("secret %d has %d bytes, and %d to %d are needed", i+1, len(secret), shortestSecret, longestSecret)
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) == 0 {
		return nil, errors.New("there is no secret")
	}
	return secrets, nil
}

// sign returns the signature of a message, as it is in the header.
func (s Secret) sign(id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, s)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// TypeTest is the type of a message that is about nothing.
const TypeTest = "test"

// A Message says that there is something for a device.
type Message struct {
	// ID is the same in each attempt to send the message, and in no other message.
	ID string
	// Type says what there is, as in the events of the API.
	Type string
	User string
	// Device is one of the user's.
	Device string
	// At is when it happened.
	At time.Time
}

// body is what is sent, in the form that Standard Webhooks recommends.
func (m Message) body() []byte {
	var b struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      struct {
			ID     string `json:"id"`
			User   string `json:"user,omitempty"`
			Device string `json:"device,omitempty"`
		} `json:"data"`
	}
	b.Type, b.Timestamp = m.Type, m.At.UTC()
	b.Data.ID, b.Data.User, b.Data.Device = m.ID, m.User, m.Device
	text, err := json.Marshal(b)
	if err != nil {
		panic(err) // only strings, and a time that has come
	}
	return text
}

// A Webhook is a URL to which messages are posted, by the conventions of Standard Webhooks.
type Webhook struct {
	URL     string
	Secrets []Secret // at least one
	Client  *Client
	// Now tells the time that is signed; nil: time.Now. A receiver refuses what is minutes old.
	Now func() time.Time
}

// SendHint is Send for a hint.
func (w *Webhook) SendHint(ctx context.Context, h delivery.Hint) error {
	return w.Send(ctx, Message{ID: h.ID, Type: string(h.Kind), User: string(h.Device.User), Device: h.Device.Name, At: h.At})
}

// Test sends a message about nothing, once.
func (w *Webhook) Test(ctx context.Context) error {
	return w.Send(ctx, Message{ID: rand.Text(), Type: TypeTest, At: time.Now()})
}

// Send posts a message. It returns nil if the receiver has taken it, a *Refused if the
// receiver has answered otherwise, ErrNotAllowed, or why there was no answer.
func (w *Webhook) Send(ctx context.Context, m Message) error {
	body := m.body()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	now := time.Now
	if w.Now != nil {
		now = w.Now
	}
	timestamp := strconv.FormatInt(now().Unix(), 10)
	signatures := make([]string, len(w.Secrets))
	for i, s := range w.Secrets {
		signatures[i] = s.sign(m.ID, timestamp, body)
	}
	req.Header.Set("Content-Type", "application/json")
	// As the specification spells them. HTTP does not tell large letters from small ones.
	req.Header.Set("webhook-id", m.ID)
	req.Header.Set("webhook-timestamp", timestamp)
	req.Header.Set("webhook-signature", strings.Join(signatures, " "))
	_, err = w.Client.Do(req)
	return err
}
