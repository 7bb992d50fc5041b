/** Measures which part of the machine's CPU time other programs left to a browser. Linux only. */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import type { CDPSession } from 'playwright';

/** Unit of the times in /proc/stat. */
const TICK_MS = 10;

interface Usage {
  readonly atMs: number;
  /** CPU time of all programs. */
  readonly allMs: number;
  /** CPU time of the browser's processes, by process id. */
  readonly browserMs: ReadonlyMap<number, number>;
}

/** @param session a session of the whole browser */
export async function usage(session: CDPSession): Promise<Usage> {
  const [user, nice, system, , , irq, softIrq, steal] = readFileSync('/proc/stat', 'utf8')
    .match(/\d+/g)!
    .map(Number);
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  return {
    atMs: performance.now(),
    allMs: TICK_MS * (user! + nice! + system! + irq! + softIrq! + steal!),
    browserMs: new Map(processInfo.map(({ id, cpuTime }) => [id, 1000 * cpuTime])),
  };
}

/**
 * Returns the part of the machine's CPU time between two measurements that other programs did not take, 0 to 1. What a
 * process used that ended meanwhile counts as used by others.
 */
export function shareOfBrowser(before: Usage, after: Usage): number {
  let othersMs = after.allMs - before.allMs;
  for (const [id, ms] of after.browserMs) othersMs -= ms - (before.browserMs.get(id) ?? 0);
  return 1 - Math.max(0, othersMs) / ((after.atMs - before.atMs) * availableParallelism());
}
