// SPDX-License-Identifier: Apache-2.0

// Package telemetry is what operators see of a plugin outside of Kong's own
// log: structured lines on stderr, metrics, and the cleaning of values that
// strangers chose before they reach either.
package telemetry

import (
	"fmt"
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// NewLogger writes one JSON object a line to w (stderr in production: stdout
// belongs to the dump). Level is debug, info, warn or error; the returned
// level can be changed while running.
func NewLogger(w io.Writer, level string) (*zap.Logger, zap.AtomicLevel, error) {
	l, err := zapcore.ParseLevel(level)
	if err != nil || l < zapcore.DebugLevel || l > zapcore.ErrorLevel {
		return nil, zap.AtomicLevel{}, fmt.Errorf("log level must be debug, info, warn or error")
	}
	at := zap.NewAtomicLevelAt(l)
	enc := zap.NewProductionEncoderConfig()
	enc.TimeKey = "time"
	enc.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	enc.EncodeDuration = zapcore.MillisDurationEncoder
	core := zapcore.NewCore(zapcore.NewJSONEncoder(enc), zapcore.Lock(zapcore.AddSync(w)), at)
	return zap.New(core), at, nil
}
