package load

import (
	"context"
	"net/http"
	"time"
)

// Remove removes every user that the driver made, so that a server which is in
// use keeps nothing of the load but tombstones.
func (d *Driver) Remove(ctx context.Context) error {
	d.mu.Lock()
	var requests [][]byte
	for _, owner := range d.made {
		if owner.used.Load() {
			requests = append(requests, d.target.request("DELETE", "/v1/users/"+owner.user, "", nil))
		}
	}
	d.made = nil
	d.mu.Unlock()
	_, err := d.drive(ctx, stage{"remove", dialAtOnce, len(requests), 0, func(c *conn, i int) (time.Duration, error) {
		return c.checked(ctx, requests[i], func(a answer) error { return a.expect(http.StatusNoContent) })
	}})
	return err
}
