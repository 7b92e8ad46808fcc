// SPDX-License-Identifier: Apache-2.0

// Command noma-runtime-protection is the plugin server of the Kong plugin of
// the same name.
package main

import (
	"os"

	"kong-ai-guard/internal/program"
	"kong-ai-guard/plugins/noma"
)

func main() { os.Exit(program.Main(noma.Plugin())) }
