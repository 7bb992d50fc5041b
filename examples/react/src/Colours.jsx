import { PCA } from 'dinov2-webgpu/worker';
import { useEffect, useRef } from 'react';

/** A photograph's patches as colours. Another photograph or model replaces the picture. */
export function Colours({ model, photo, onResult, onError }) {
  const canvas = useRef(null);
  useEffect(() => {
    const stop = new AbortController();
    const { signal } = stop;
    async function draw() {
      const features = await model.features(photo, {
        resize: 'fit',
        longestSide: 518,
        orientation: 'respect',
        signal,
      });
      try {
        const pca = await PCA.fit(features, { signal });
        await pca.draw(features, canvas.current);
        if (!signal.aborted) onResult(features);
      } finally {
        features.dispose();
      }
    }
    draw().catch((error) => signal.aborted || onError(error));
    return () => stop.abort();
  }, [model, photo, onResult, onError]);
  return <canvas ref={canvas} role="img" aria-label="The patches as colours" />;
}
