// SPDX-License-Identifier: Apache-2.0

// Command prisma-airs-intercept is the plugin server of the Kong plugin of the
// same name.
package main

import (
	"os"

	"kong-ai-guard/internal/program"
	"kong-ai-guard/plugins/airs"
)

func main() { os.Exit(program.Main(airs.Plugin())) }
