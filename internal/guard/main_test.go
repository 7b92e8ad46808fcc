// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/leaks"
)

// patience is how long a test waits for what has to come: the machine may be
// busy, and nothing but a failure takes so long.
const patience = 2 * time.Minute

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }
