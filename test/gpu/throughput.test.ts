import { describe, expect, test } from 'vitest';
import { ThroughputEstimate } from '../../src/gpu/throughput.ts';
import { Random } from '../random.ts';

/** Records a measurement with an exact clock. */
const exact = (throughput: ThroughputEstimate, flopsPerSecond: number, ms = 40): void =>
  throughput.record((flopsPerSecond * ms) / 1000, ms, ms);

describe('ThroughputEstimate', () => {
  test('is the initial guess before the first measurement, and rises at once', () => {
    const throughput = new ThroughputEstimate(5e11);
    expect(throughput.flopsPerSecond).toBe(5e11);
    exact(throughput, 3e12);
    expect(throughput.flopsPerSecond).toBeCloseTo(3e12, -6);
  });

  test('falls to the best of three slow measurements, not after one or two', () => {
    const throughput = new ThroughputEstimate(5e11);
    exact(throughput, 3e12);
    exact(throughput, 1e11);
    exact(throughput, 2e11);
    expect(throughput.flopsPerSecond).toBeCloseTo(3e12, -6);
    exact(throughput, 1.5e11);
    expect(throughput.flopsPerSecond).toBeCloseTo(2e11, -6);
  });

  test('falls below the initial guess on a weak adapter', () => {
    const throughput = new ThroughputEstimate(5e11);
    for (let i = 0; i < 3; i++) exact(throughput, 5e10);
    expect(throughput.flopsPerSecond).toBeCloseTo(5e10, -6);
  });

  test('does not fall below the lower bound', () => {
    const throughput = new ThroughputEstimate(5e9, 5e9);
    exact(throughput, 3e10);
    for (let i = 0; i < 3; i++) exact(throughput, 5e8);
    expect(throughput.flopsPerSecond).toBe(5e9);
  });

  test('is unchanged if every third measurement is slow', () => {
    const throughput = new ThroughputEstimate(5e11);
    exact(throughput, 1e12);
    for (let i = 0; i < 60; i++) {
      exact(throughput, i % 3 === 0 ? 1e10 : 1e12);
      expect(throughput.flopsPerSecond).toBeCloseTo(1e12, -6);
    }
  });

  test('does not fall if the browser reports the end of work a second late', () => {
    const throughput = new ThroughputEstimate(5e11);
    exact(throughput, 1e12);
    for (let i = 0; i < 10; i++) throughput.record(4e10, 40 - 1000, 1040);
    expect(throughput.flopsPerSecond).toBeCloseTo(1e12, -6);
  });

  test('is finite if the clock stands still', () => {
    const throughput = new ThroughputEstimate(5e11);
    throughput.record(1e10, 0, 0);
    expect(throughput.flopsPerSecond).toBe(2e12);
  });

  test('lies within the range of the measurements, for random clocks', () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = new Random(seed);
      const throughput = new ThroughputEstimate(10 ** random.integer(9, 13));
      const real = 10 ** random.integer(9, 13);
      let [lowest, highest] = [Infinity, 0];
      for (let i = 0; i < 3; i++) {
        const ms = random.integer(10, 500);
        const lateMs = random.integer(0, ms - 1);
        throughput.record((real * ms) / 1000, ms - lateMs, ms + lateMs);
        lowest = Math.min(lowest, (real * ms) / (ms + lateMs));
        highest = Math.max(highest, (real * ms) / (ms - lateMs));
      }
      expect(throughput.flopsPerSecond).toBeGreaterThanOrEqual(lowest * 0.999);
      expect(throughput.flopsPerSecond).toBeLessThanOrEqual(highest * 1.001);
    }
  });
});
