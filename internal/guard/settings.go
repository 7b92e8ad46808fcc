package guard

import "time"

// A Mode says what is done with one leg of an exchange.
type Mode string

// The modes; see the policy page of the documentation.
const (
	Enforce Mode = "enforce"
	Monitor Mode = "monitor"
	Off     Mode = "off"
)

// Settings are the configuration fields that both plugins share.
type Settings struct {
	RequestMode, ResponseMode         Mode
	BlockFailures                     bool
	BlockFailuresResponse             bool
	Timeout                           time.Duration
	SSLVerify                         bool
	CAFile                            string
	HTTPProxy                         string
	MaxRequestBytes, MaxResponseBytes int64
	KeepBuffering                     bool
	Debug                             bool
}
