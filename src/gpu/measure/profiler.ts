/**
 * Profiles a forward pass: times each dispatch separately, with the inputs that the dispatch has in the
 * forward pass, and compares the time with the highest rates of the adapter (`ceilings.ts`).
 */
import { measureCeilings, type Ceilings } from './ceilings.js';
import type { Gpu } from '../device.js';
import { kernelName } from '../kernels/kernel.js';
import {
  Profile,
  type DispatchProfile,
  type KernelProfile,
  type ProfileData,
  type Throughput,
} from './profile.js';
import { profileTable } from './profileTable.js';
import type { Program, ProgramStep, ReadyDispatch } from '../program.js';
import { splitByWork, SUBMIT_MS } from '../submits.js';
import { time, type Work } from './stopwatch.js';

/**
 * Times every dispatch of a program whose inputs are filled. Also adds an entry to the performance timeline
 * for each dispatch: `performance.measure`, with a name such as `DINOv2 blocks.0.attn.qkv`. The first entry
 * begins at the start of the call, and each further entry at the end of the entry before.
 *
 * @throws DeviceError; the signal's reason
 */
export function profileProgram(
  gpu: Gpu,
  program: Program,
  size: Profile['size'],
  signal?: AbortSignal,
): Promise<Profile> {
  const startMs = performance.now();
  const { steps } = program;
  const work = (dispatches: readonly ReadyDispatch[]): Work => ({
    seconds: dispatches.reduce((sum, { flops }) => sum + flops, 0) / gpu.flopsPerSecond,
    encode: (pass) => program.encode(pass, dispatches),
  });
  return gpu.task('profile', signal, async (task) => {
    const ceilings = await measureCeilings(gpu, signal);
    // The measured work is cut into submits as a forward pass is, so that pages do not stutter.
    const most = gpu.flopsPerSecond * (SUBMIT_MS / 1000);
    await program.bind(task);
    const cut = task.burst((burst) => program.cut(burst, most));
    // The whole forward pass runs first, so that each activation has the contents that the dispatches read.
    const submits = splitByWork(cut, most).map(({ begin, end }) => work(cut.slice(begin, end)));
    const forward = await time(gpu, submits, signal);
    const first = firstOfEachKind(steps);
    const chosen = new Set(gpu.device.features.has('timestamp-query') ? steps : first.values());
    const timed = cut.filter(({ step }) => chosen.has(step));
    const { seconds, timer } = await time(
      gpu,
      timed.map((dispatch) => work([dispatch])),
      signal,
    );
    const secondsOf = new Map<ProgramStep, number>();
    timed.forEach(({ step }, i) => secondsOf.set(step, (secondsOf.get(step) ?? 0) + seconds[i]!));
    const dispatches = steps.map((step): DispatchProfile => {
      const { node, kernel, workgroups, flops, bytes } = step;
      const ms = 1000 * (secondsOf.get(step) ?? secondsOf.get(first.get(kindOf(step))!)!);
      return {
        label: node.label,
        kernel: kernelName(kernel.variant.kernel),
        workgroups,
        ...throughput(ms, flops, bytes, ceilings),
      };
    });
    addToTimeline(dispatches, startMs);
    const forwardMs = 1000 * forward.seconds.reduce((sum, each) => sum + each, 0);
    const profile: ProfileData = {
      adapter: gpu.info,
      size,
      timer,
      ceilings,
      dispatches,
      kernels: byKernel(dispatches, ceilings),
      total: together(dispatches, ceilings),
      forwardMs,
    };
    return new Profile(profile, profileTable(profile));
  });
}

/**
 * Returns a string that is equal for dispatches with the same kernel and the same shape. Such dispatches take
 * the same time.
 */
const kindOf = ({ kernel, workgroups, bytes }: ProgramStep): string =>
  JSON.stringify([kernelName(kernel.variant.kernel), kernel.variant.constants, workgroups, bytes]);

function firstOfEachKind(steps: readonly ProgramStep[]): Map<string, ProgramStep> {
  const first = new Map<string, ProgramStep>();
  for (const step of steps) if (!first.has(kindOf(step))) first.set(kindOf(step), step);
  return first;
}

function throughput(
  ms: number,
  flops: number,
  bytes: number,
  { flopsPerSecond, bytesPerSecond }: Ceilings,
): Throughput {
  const share = (1000 * Math.max(flops / flopsPerSecond, bytes / bytesPerSecond)) / ms;
  return { ms, flops, bytes, gflopsPerSecond: flops / ms / 1e6, gigabytesPerSecond: bytes / ms / 1e6, share };
}

/**
 * Sums the work and time of several dispatches. The result's `share` is the mean of the dispatches' `share`,
 * weighted by time.
 */
function together(parts: readonly Throughput[], ceilings: Ceilings): Throughput {
  const sum = (of: (part: Throughput) => number): number => parts.reduce((all, part) => all + of(part), 0);
  const ms = sum((part) => part.ms);
  return {
    ...throughput(
      ms,
      sum((part) => part.flops),
      sum((part) => part.bytes),
      ceilings,
    ),
    share: sum((part) => part.share * part.ms) / ms,
  };
}

function byKernel(dispatches: readonly DispatchProfile[], ceilings: Ceilings): KernelProfile[] {
  const groups = new Map<string, DispatchProfile[]>();
  for (const dispatch of dispatches) {
    const key = `${dispatch.kernel} ${withoutBlock(dispatch.label)}`;
    groups.set(key, [...(groups.get(key) ?? []), dispatch]);
  }
  const kernels = [...groups.values()].map((group): KernelProfile => {
    const { kernel, label } = group[0]!;
    return { kernel, label: withoutBlock(label), dispatches: group.length, ...together(group, ceilings) };
  });
  return kernels.sort((a, b) => b.ms - a.ms);
}

const withoutBlock = (label: string): string => label.replace(/^blocks\.\d+\./, 'blocks.*.');

/**
 * Adds the dispatches to the performance timeline. Chrome's performance panel shows them on a separate track.
 */
function addToTimeline(dispatches: readonly DispatchProfile[], startMs: number): void {
  let start = startMs;
  for (const { label, ms, kernel, flops, bytes } of dispatches) {
    performance.measure(`DINOv2 ${label}`, {
      start,
      duration: ms,
      detail: { kernel, flops, bytes, devtools: { dataType: 'track-entry', track: 'DINOv2 kernels' } },
    });
    start += ms;
  }
}
