// SPDX-License-Identifier: Apache-2.0

package pluginserver

import "regexp"

var threeNumbers = regexp.MustCompile(`^v?([0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9})`)

// kongVersion is a build's version as Kong takes it from a plugin: three
// numbers. Kong does not start with a plugin that has another one, such as the
// "(devel)" or the commit of a build without a tag, which get 0.0.0.
func kongVersion(version string) string {
	if found := threeNumbers.FindStringSubmatch(version); found != nil {
		return found[1]
	}
	return "0.0.0"
}
