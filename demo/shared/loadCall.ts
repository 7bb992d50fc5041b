/** Returns the call that loads a chosen model, for example code. */
import { hubId, type ModelChoice } from './modelChoice.js';

const files = ({ config, preprocessor }: ModelChoice): string =>
  ['weights: file', config ? 'config' : '', preprocessor ? 'preprocessor' : ''].filter(Boolean).join(', ');

export function loadCall(choice: ModelChoice): string {
  const dtype = choice.dtype === 'fp32' ? '' : `dtype: '${choice.dtype}'`;
  const registers = choice.registers ? 'registers: true' : '';
  const options = (...parts: string[]): string => {
    const given = parts.filter((part) => part !== '').join(', ');
    return given && `, { ${given} }`;
  };
  switch (choice.weights) {
    case 'hub':
      return `DINOv2.fromPretrained('${hubId(choice)}'${options(dtype)})`;
    case 'file':
      return `DINOv2.fromFiles({ ${files(choice)} }${options(dtype)})`;
    case 'synthetic':
      return `DINOv2.synthetic('${choice.size}'${options(registers, dtype)})`;
  }
}
