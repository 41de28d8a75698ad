package cli

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"time"

	"welcomed/load"
)

// A benchRun is a bench under way.
type benchRun struct {
	*benchConfig
	driver     *load.Driver
	limits     load.Limits
	report     *benchReport
	population *load.Population // of life, for all levels
}

const (
	benchObjects      = 5000
	benchGroups       = 5
	benchMembers      = 1000
	benchPopulation   = 2000
	benchFilling      = 64 // callers that fill the shelves, which nobody measures
	burstEvery        = 250 * time.Millisecond
	benchRemovingTime = time.Minute
)

// run measures at each number of callers. That somebody stops it is no error.
func (b *benchRun) run(ctx context.Context) error {
	for _, callers := range b.callers {
		level := &benchLevel{Callers: callers}
		err := b.level(ctx, level)
		if len(level.Operations) > 0 {
			b.report.Levels = append(b.report.Levels, level)
		}
		if ctx.Err() != nil {
			b.report.Interrupted = true
			break
		}
		if err != nil {
			return fmt.Errorf("at --callers %d: %w", callers, err)
		}
	}
	if b.mix == mixMachine {
		b.report.judge(b.dir)
	}
	return nil
}

func (b *benchRun) level(ctx context.Context, level *benchLevel) (err error) {
	if b.dir != "" {
		if level.Disk, err = measureDisk(ctx, b.dir); err != nil {
			return err
		}
	}
	switch b.mix {
	case mixMachine:
		return b.machine(ctx, level)
	case mixGroup:
		return b.group(ctx, level)
	case mixLife:
		return b.life(ctx, level)
	}
	return b.phases(ctx, level)
}

func (b *benchRun) phases(ctx context.Context, level *benchLevel) error {
	measures, err := b.driver.Phases(ctx, load.Phases{
		Callers:     level.Callers,
		Objects:     cmp.Or(b.count, benchObjects),
		Devices:     b.devices,
		KeyPackages: b.keyPackages,
		Limit:       b.duration,
	})
	level.add(measures)
	return err
}

// What a verdict is measured with: enough for a rate that is the same the next
// time, in less than a minute.
const (
	machineCallers = 64
	machineBatch   = 20
	machineObjects = 4000
	loneObjects    = 1000
	machineLimit   = 3 * time.Second // of a phase
	loneLimit      = 1500 * time.Millisecond
)

// machine is phases in a short time.
func (b *benchRun) machine(ctx context.Context, level *benchLevel) error {
	objects, limit := machineObjects, machineLimit
	if level.Callers == 1 {
		objects, limit = loneObjects, loneLimit
	}
	measures, err := b.driver.Phases(ctx, load.Phases{
		Callers:     level.Callers,
		Objects:     cmp.Or(b.count, objects),
		KeyPackages: machineBatch,
		Limit:       min(cmp.Or(b.duration, limit), limit),
	})
	level.add(measures)
	level.busy = busyWith(measures)
	return err
}

// busyWith is the share of the processors that was taken.
func busyWith(measures []load.Measure) float64 {
	var took, elapsed time.Duration
	for _, m := range measures {
		took += m.Processor
		elapsed += m.Elapsed
	}
	if elapsed == 0 {
		return 0
	}
	return min(1, took.Seconds()/(elapsed.Seconds()*float64(runtime.NumCPU())))
}

func (b *benchRun) group(ctx context.Context, level *benchLevel) error {
	measures, download, err := b.driver.Groups(ctx, load.Groups{
		Callers: level.Callers,
		Groups:  cmp.Or(b.count, benchGroups),
		Joiners: cmp.Or(b.devices, benchMembers),
		Limit:   b.duration,
	})
	level.add(measures)
	if download.Joiners > 0 {
		level.Download = newBenchDownload(download)
	}
	return err
}

func (b *benchRun) life(ctx context.Context, level *benchLevel) (err error) {
	devices := cmp.Or(b.devices, benchPopulation)
	life := load.Life{
		Callers:    level.Callers,
		Bursts:     cmp.Or(b.count, int(b.duration/burstEvery), 1),
		Every:      burstEvery,
		LongPolls:  cmp.Or(b.longPolls, devices/4),
		MostJoined: benchMembers,
		Limit:      b.duration,
	}
	if err := life.Check(b.limits, devices); err != nil {
		return err
	}
	if b.population == nil {
		if b.population, _, err = b.driver.Populate(ctx, devices, b.keyPackages, benchFilling); err != nil {
			return err
		}
	}
	lived, err := b.population.Live(ctx, life)
	level.add(lived.Measures)
	if lived.Bursts > 0 {
		level.Life = newBenchLife(devices, life, lived)
	}
	return err
}

// remove removes what was made also when the run was stopped.
func (b *benchRun) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), benchRemovingTime)
	defer cancel()
	if err := b.driver.Remove(ctx); err != nil {
		return fmt.Errorf("remove what was made: %w", err)
	}
	return nil
}
