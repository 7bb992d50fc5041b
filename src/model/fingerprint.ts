/** The fingerprint of loaded weights: a SHA-256 hash that identifies a checkpoint. */
import type { Gpu } from '../gpu/device.js';
import { Sha256 } from '../io/sha256.js';
import { isMatrix, parameterBytes, type Weights } from '../weights/weightMemory.js';
import type { DINOv2Config } from './config.js';
import { parameters } from './parameters.js';

/**
 * Hashes the configuration, the element type and all parameters except matrices. See `DINOv2.fingerprint`.
 */
export function fingerprintOf(gpu: Gpu, config: DINOv2Config, weights: Weights): Promise<string> {
  return gpu.task('fingerprint', undefined, async (task) => {
    const hash = new Sha256();
    const text = (line: string): void => hash.update(new TextEncoder().encode(`${line}\n`));
    text(JSON.stringify(Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1))));
    text(`matrices ${weights.matrices}`);
    for (const parameter of parameters(config)) {
      const { name } = parameter;
      if (isMatrix(parameter) || name === 'mask_token') continue; // a checkpoint may lack mask_token
      text(name);
      const bytes = parameterBytes(parameter, 'f32');
      hash.update(
        name === 'pos_embed'
          ? new Uint8Array(weights.posEmbed.buffer)
          : new Uint8Array(await task.read(weights.buffers.get(name)!, 0, bytes)),
      );
    }
    return hash.digest();
  });
}
