// Sources of live video: a <video> and a track with the members that the library uses, and wrong sources.
import { afterEach, describe, expect, test, vi } from 'vitest';
import { FakeFrame, sleep, World } from './liveWorld.ts';

afterEach(() => vi.unstubAllGlobals());

describe('a <video>', () => {
  /** A <video> with the members that the library uses. */
  class FakeVideo extends EventTarget {
    readonly [Symbol.toStringTag] = 'HTMLVideoElement';
    readyState = 0;
    currentTime = 0;
    error: object | undefined;
    srcObject: unknown;
    ended = false;
    readonly callbacks = new Map<number, () => void>();
    last = 0;
    requestVideoFrameCallback? = (callback: () => void): number => (
      this.callbacks.set(++this.last, callback),
      this.last
    );
    cancelVideoFrameCallback = (id: number): void => void this.callbacks.delete(id);
    play = (): Promise<void> => Promise.resolve();
    show(): void {
      this.readyState = 2;
      this.currentTime += 0.5;
      runAll(this.callbacks);
    }
  }
  class FakeTrack extends EventTarget {
    readonly [Symbol.toStringTag] = 'MediaStreamTrack';
    readonly kind = 'video';
    readonly readyState = 'live';
  }
  const runAll = (callbacks: Map<number, () => void>): void => {
    const due = [...callbacks.values()];
    callbacks.clear();
    for (const each of due) each();
  };
  const stubVideoFrame = (world: World): void => {
    vi.stubGlobal(
      'VideoFrame',
      class extends FakeFrame {
        constructor(video: FakeVideo) {
          super(video.currentTime * 1000);
          world.frames.push(this);
        }
      },
    );
  };
  const turn = (): Promise<void> => sleep(2); // frames of a <video> are delivered at once

  test('each shown frame is delivered; after stop, no callback is left', async () => {
    const world = new World();
    stubVideoFrame(world);
    const video = new FakeVideo();
    const live = world.start({}, video);
    await turn();
    expect(live.framesIn).toBe(0); // there is no picture yet
    for (let i = 0; i < 3; i++) {
      video.show();
      await turn();
    }
    expect(world.delivered).toEqual([0, 1, 2]);
    live.stop();
    await live.finished;
    expect(video.callbacks.size).toBe(0);
    world.expectFreed(live);
  });

  test('a paused video: its picture is delivered at once', async () => {
    const world = new World();
    stubVideoFrame(world);
    const video = new FakeVideo();
    video.readyState = 4;
    const live = world.start({}, video);
    await turn();
    expect(world.delivered).toEqual([0]);
    live.stop();
    await live.finished;
    world.expectFreed(live);
  });

  test('without requestVideoFrameCallback: animation frames, of which only those with a new picture count', async () => {
    const world = new World();
    stubVideoFrame(world);
    const callbacks = new Map<number, () => void>();
    let last = 0;
    vi.stubGlobal('requestAnimationFrame', (run: () => void) => (callbacks.set(++last, run), last));
    vi.stubGlobal('cancelAnimationFrame', (id: number) => callbacks.delete(id));
    const video = new FakeVideo();
    delete video.requestVideoFrameCallback;
    const live = world.start({}, video);
    for (const isNew of [false, true, false, true]) {
      if (isNew) video.show();
      runAll(callbacks);
      await turn();
    }
    expect(world.delivered).toEqual([0, 1]);
    live.stop();
    await live.finished;
    expect(callbacks.size).toBe(0);
    world.expectFreed(live);
  });

  test('without VideoFrame: the video itself, with its time', async () => {
    const world = new World();
    const video = new FakeVideo();
    const seen: unknown[] = [];
    world.onFrameTakes = (_, { frame, timestampMs }) => seen.push([frame, timestampMs]);
    const live = world.start({}, video);
    video.show();
    await turn();
    expect(seen).toEqual([[video, 500]]);
    live.stop();
    await live.finished;
  });

  test('that cannot be played: an error with its message', async () => {
    const video = new FakeVideo();
    const live = new World().start({}, video);
    video.error = { message: 'no decoder', code: 4 };
    video.dispatchEvent(new Event('error'));
    const expected = { code: 'IMAGE_DECODE', message: expect.stringContaining('(no decoder)') as string };
    await expect(live.finished).rejects.toMatchObject(expected);
    await expect(new World().start({}, video).finished).rejects.toMatchObject(expected);
  });

  test.each(['track', 'stop'])(
    'of a track, where there is no MediaStreamTrackProcessor; ended by %s',
    async (ending) => {
      const world = new World();
      stubVideoFrame(world);
      const video = new FakeVideo();
      vi.stubGlobal('document', { createElement: () => video });
      vi.stubGlobal(
        'MediaStream',
        class {
          readonly tracks: unknown;
          constructor(tracks: unknown) {
            this.tracks = tracks;
          }
        },
      );
      const track = new FakeTrack();
      const stream = { [Symbol.toStringTag]: 'MediaStream', getVideoTracks: () => [track] };
      const live = world.start({}, ending === 'track' ? track : stream);
      expect(video).toMatchObject({ muted: true, playsInline: true, srcObject: { tracks: [track] } });
      video.show();
      await turn();
      expect(world.delivered).toEqual([0]);
      if (ending === 'track') track.dispatchEvent(new Event('ended'));
      else live.stop();
      await live.finished;
      await turn();
      expect(video.srcObject).toBeNull();
      expect(video.callbacks.size).toBe(0);
      world.expectFreed(live);
    },
  );

  test('of a track that the browser refuses to play', async () => {
    const world = new World();
    const video = new FakeVideo();
    video.play = () => Promise.reject(new Error('click first'));
    vi.stubGlobal('document', { createElement: () => video });
    vi.stubGlobal('MediaStream', class {});
    const track = new FakeTrack();
    await expect(world.start({}, track).finished).rejects.toMatchObject({
      code: 'IMAGE_DECODE',
      message: expect.stringContaining('click first') as string,
    });
    expect(video.callbacks.size).toBe(0);
  });

  test('a track that has ended', async () => {
    vi.stubGlobal('document', {});
    const track = { [Symbol.toStringTag]: 'MediaStreamTrack', kind: 'video', readyState: 'ended' };
    await new World().start({}, track).finished;
  });
});

describe('wrong arguments', () => {
  const code = 'OPTION_VALUE';
  const named = (name: string, more: object = {}): unknown => ({ [Symbol.toStringTag]: name, ...more });
  test.each([
    ['a text', 'video.mp4', /expected a <video>, .* found String/],
    ['nothing', null, /found Null/],
    ['a sound', named('MediaStreamTrack', { kind: 'audio' }), /found a track of kind audio/],
    ['a stream of sound', named('MediaStream', { getVideoTracks: () => [] }), /without a video track/],
    ['a track in a worker', named('CanvasCaptureMediaStreamTrack', { kind: 'video' }), /not in a worker/],
  ])('%s as source', (_, source, message) => {
    expect(() => new World().start({}, source)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) as string }),
    );
  });
  test('a locked stream, no onFrame, three in flight', () => {
    const world = new World();
    for (const wrong of [{ onFrame: undefined }, { onFrame: 'draw' }, { maxInFlight: 3 }, { maxInFlight: 0 }])
      expect(() => world.start(wrong as never)).toThrow(expect.objectContaining({ code }));
    world.stream.getReader();
    expect(() => world.start()).toThrow(expect.objectContaining({ code }));
  });
});
