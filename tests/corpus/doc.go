// SPDX-License-Identifier: Apache-2.0

// Package corpus holds attacks and good traffic as data, and the tests that
// run them through both real binaries: every attack has to be stopped, and
// nothing good may be changed by a byte. It has no code but tests.
package corpus
