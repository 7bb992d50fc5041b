/** The page's side of `live`: the loop runs in the page and sends each frame to the worker. */
import { DeviceError, modelDisposed } from '../errors.js';
import type { ImageSource } from '../image/source.js';
import { expectOptions } from '../optionObject.js';
import type { FeatureOptions, LiveOptions } from '../options.js';
import { startLive, type LiveVideo } from '../tasks/live.js';
import type { LiveSource } from '../tasks/liveSource.js';
import { Call } from './call.js';
import { Handle } from './handles.js';
import { handles, options, send, value, type Pack } from './packs.js';
import { classOf } from './remote.js';

/** A model in the worker, of which the loop uses one method. */
interface LiveModel<Features> extends Handle {
  features(image: ImageSource, options: FeatureOptions): Promise<Features>;
}

export async function live<Features extends { dispose(): void }>(
  model: LiveModel<Features>,
  source: LiveSource,
  given: LiveOptions<Features>,
): Promise<LiveVideo> {
  expectOptions('live', given ?? null);
  given.signal?.throwIfAborted();
  const object = Handle.objectOf(model)!;
  const run = (name: string, packs: readonly Pack[], ...args: unknown[]): Promise<unknown> =>
    send(new Call('live', object.connection), classOf('functions'), name, packs, args);
  await Promise.all([
    run('checkNames', [value, value], 'live', Object.keys(given)),
    run('prepareLive', [handles('DINOv2')], model),
  ]);
  if (object.freed) throw modelDisposed();
  const { onFrame: _, maxInFlight: __, ...forFeatures } = given;
  return startLive(source, given, {
    features: (frame, signal) => model.features(frame, { ...forFeatures, signal }),
    computed: async (signal) => {
      try {
        await run('computed', [handles('DINOv2'), options], model, { signal });
      } catch (error) {
        if (error instanceof DeviceError && object.freed) throw modelDisposed();
        throw error;
      }
    },
  });
}
