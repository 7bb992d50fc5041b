// A fake model, fake frames and a source for tests of live video.
import { expect, vi } from 'vitest';
import { startLive, type LiveFrame, type LiveLoopOptions, type LiveVideo } from '../../src/tasks/live.ts';
import type { LiveSource } from '../../src/tasks/liveSource.ts';

export const sleep = (ms = 0): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A frame that counts how often it is closed. */
export class FakeFrame {
  closed = 0;
  readonly timestamp: number;
  constructor(index: number) {
    this.timestamp = index * 1000;
  }
  close(): void {
    this.closed += 1;
  }
}
export class FakeFeatures {
  disposed = 0;
  readonly frame: FakeFrame;
  constructor(frame: FakeFrame) {
    this.frame = frame;
  }
  dispose(): void {
    this.disposed += 1;
  }
}

/** A model that counts what is in flight, and a source whose frames the test pushes. */
export class World {
  readonly frames: FakeFrame[] = [];
  readonly made: FakeFeatures[] = [];
  /** Indices of the frames whose features were passed to `onFrame`. */
  readonly delivered: number[] = [];
  inFlight = 0;
  mostInFlight = 0;
  inOnFrame = 0;
  mostInOnFrame = 0;
  cancelled: unknown[] = [];
  controller!: ReadableStreamDefaultController<VideoFrame>;
  readonly stream = new ReadableStream<VideoFrame>({
    start: (controller) => void (this.controller = controller),
    cancel: (reason) => void this.cancelled.push(reason),
  });
  featuresTake = (): Promise<void> => Promise.resolve();
  onFrameTakes: (features: FakeFeatures, info: LiveFrame) => unknown = () => undefined;
  computedTakes = (): Promise<void> => Promise.resolve();

  start(options: Partial<LiveLoopOptions<FakeFeatures>> = {}, source: unknown = this.stream): LiveVideo {
    const onFrame = async (features: FakeFeatures, info: LiveFrame): Promise<void> => {
      expect(features.disposed).toBe(0);
      expect((info.frame as unknown as FakeFrame).closed ?? 0).toBe(0);
      this.mostInOnFrame = Math.max(this.mostInOnFrame, ++this.inOnFrame);
      try {
        this.delivered.push(info.index);
        await this.onFrameTakes(features, info);
      } finally {
        this.inOnFrame -= 1;
      }
    };
    return startLive<FakeFeatures>(
      source as LiveSource,
      { onFrame, ...options },
      {
        features: async (frame, signal) => {
          this.mostInFlight = Math.max(this.mostInFlight, ++this.inFlight);
          try {
            await this.featuresTake();
            signal.throwIfAborted();
          } catch (error) {
            this.inFlight -= 1;
            throw error;
          }
          const features = new FakeFeatures(frame as unknown as FakeFrame);
          const { dispose } = features;
          features.dispose = () => {
            this.inFlight -= 1;
            dispose.call(features);
          };
          this.made.push(features);
          return features;
        },
        computed: (signal) => this.computedTakes().then(() => signal.throwIfAborted()),
      },
    );
  }
  push(): FakeFrame {
    const frame = new FakeFrame(this.frames.length);
    this.frames.push(frame);
    this.controller.enqueue(frame as unknown as VideoFrame);
    return frame;
  }
  /** Every frame that the loop received is closed once, and all features are disposed of once. */
  expectFreed(live: LiveVideo): void {
    const closed = this.frames.map((frame) => frame.closed);
    expect(Math.max(0, ...closed)).toBeLessThanOrEqual(1);
    expect(closed.slice(0, live.framesIn)).toEqual(Array.from({ length: live.framesIn }, () => 1));
    expect(this.made.map(({ disposed }) => disposed)).toEqual(this.made.map(() => 1));
    expect(this.inFlight).toBe(0);
  }
}

/** Waits until the loop has received a number of frames. */
export const received = (live: LiveVideo, count: number): Promise<void> =>
  vi.waitFor(() => expect(live.framesIn).toBe(count), { interval: 1, timeout: 10_000 });
