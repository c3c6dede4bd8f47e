package store

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A Config says where a store lives and how much it may keep. Dir must be set.
type Config struct {
	// Dir is the store's folder. It is made when missing, readable by this user only, and
	// used by one daemon at a time.
	Dir string
	// MaxBytes bounds what blobs and partial blobs take together; partial blobs in use
	// count in full. Zero means: as long as a tenth of the disk stays free.
	MaxBytes blob.ByteCount
	// AbandonAfter is how long a partial blob stays that nobody works on. Zero means 24 hours.
	AbandonAfter time.Duration
	// FS is where the files are. Nil means the disk.
	FS FS
	// Log takes what the store cleans up and drops. Nil means nowhere.
	Log *slog.Logger
	// Now tells the time for "last used". Nil means time.Now.
	Now func() time.Time
}

// Validate reports a setting that cannot work.
func (c Config) Validate() error {
	switch {
	case c.Dir == "":
		return errors.New("store folder is not set")
	case !filepath.IsAbs(c.Dir):
		return fmt.Errorf("store folder %s is not an absolute path", c.Dir)
	case c.MaxBytes < 0:
		return fmt.Errorf("store size limit %d is negative", c.MaxBytes)
	case c.AbandonAfter < 0:
		return fmt.Errorf("time to keep abandoned partial blobs %s is negative", c.AbandonAfter)
	default:
		return nil
	}
}

func (c Config) withDefaults() Config {
	if c.AbandonAfter == 0 {
		c.AbandonAfter = 24 * time.Hour
	}
	if c.FS == nil {
		c.FS = disk{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}
