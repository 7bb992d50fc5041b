import { DINOv2 } from 'dinov2-webgpu/worker';
import { useEffect, useState } from 'react';

/**
 * Loads a model for as long as the component is shown.
 * Returns { progress } while it loads (0 to 1, or undefined if the size is not known), then { model } or { error }.
 */
export function useDinov2(id) {
  const [state, setState] = useState({});
  useEffect(() => {
    const stop = new AbortController();
    const loading = DINOv2.fromPretrained(id, {
      signal: stop.signal,
      onProgress: ({ loadedBytes, totalBytes }) =>
        setState({ progress: totalBytes && loadedBytes / totalBytes }),
    });
    loading.then(
      (model) => stop.signal.aborted || setState({ model }),
      (error) => stop.signal.aborted || setState({ error }),
    );
    return () => {
      stop.abort();
      setState({});
      loading.then(
        (model) => model.dispose(),
        () => {}, // the load was aborted, or its error was shown
      );
    };
  }, [id]);
  return state;
}
