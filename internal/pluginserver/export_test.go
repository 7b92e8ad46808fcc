// SPDX-License-Identifier: Apache-2.0

package pluginserver

// NewLog lets tests read what is logged.
var NewLog = newLog
