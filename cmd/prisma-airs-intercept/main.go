// SPDX-License-Identifier: Apache-2.0

// Command prisma-airs-intercept is the plugin server of the Kong plugin of the
// same name.
package main

import (
	"os"

	"github.com/kong-ai-guard/kong-ai-guard/internal/program"
	"github.com/kong-ai-guard/kong-ai-guard/plugins/airs"
)

func main() { os.Exit(program.Main(airs.Plugin())) }
