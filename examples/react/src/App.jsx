import { useCallback, useState } from 'react';
import { Colours } from './Colours.jsx';
import { useDinov2 } from './useDinov2.js';

export function App() {
  const { model, progress, error } = useDinov2('facebook/dinov2-small');
  const [photo, setPhoto] = useState();
  const [status, setStatus] = useState('Choose a photograph.');
  const onResult = useCallback(
    ({ rows, cols }) => setStatus(`${rows} × ${cols} patches. Parts that are alike have the same colour.`),
    [],
  );
  const onError = useCallback(({ message }) => setStatus(message), []);

  if (error) return <p role="alert">{error.message}</p>;
  if (!model)
    return <p>Loading the model{progress === undefined ? '…' : `: ${Math.round(progress * 100)} %`}</p>;
  const choose = ({ target }) => {
    setStatus('Computing…');
    setPhoto(target.files[0]);
  };
  return (
    <>
      <label>
        A photograph: <input type="file" accept="image/*" onChange={choose} />
      </label>
      <p id="status" role="status">
        {status}
      </p>
      {photo && <Colours model={model} photo={photo} onResult={onResult} onError={onError} />}
    </>
  );
}
