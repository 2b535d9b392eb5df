//go:build !linux

package main

import (
	"errors"
	"os/exec"
	"time"
)

var errNotLinux = errors.New("the benchmark reads Linux's accounts of processes, and runs nowhere else")

func cpuTime(int) (time.Duration, error) { return 0, errNotLinux }
func descendants(int) ([]int, error)     { return nil, errNotLinux }
func openFiles() (uint64, error)         { return 0, errNotLinux }
func residentMemory(int) (int64, error)  { return 0, errNotLinux }
func sleepUntil(moment time.Time)        { time.Sleep(time.Until(moment)) }
func makeGroup(*exec.Cmd)                {}
func killGroup(int)                      {}
func setBacklog(uintptr, int) error      { return errNotLinux }
func pause(int) error                    { return errNotLinux }
func resume(int) error                   { return errNotLinux }
