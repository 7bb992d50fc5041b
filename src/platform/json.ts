/** Parses JSON from untrusted files, and shows values of untrusted files in error messages. */

/**
 * Most levels of arrays and objects in a JSON file. Files of checkpoints have fewer than 10. Functions that
 * recurse, such as JSON.stringify, overflow the stack at a few thousand levels.
 */
const MOST_LEVELS = 64;

/** Parses JSON. @throws SyntaxError if the text is not JSON, or has more than 64 levels */
export function parseJsonText(text: string): unknown {
  let levels = 0;
  for (let at = 0, quoted = false; at < text.length; at++) {
    const character = text[at];
    if (quoted && character === '\\') at += 1;
    else if (character === '"') quoted = !quoted;
    else if (!quoted && (character === '{' || character === '[')) levels += 1;
    else if (!quoted && (character === '}' || character === ']')) levels -= 1;
    if (levels > MOST_LEVELS) throw new SyntaxError(`JSON of more than ${MOST_LEVELS} levels`);
  }
  return JSON.parse(text);
}

/** Formats a value for an error message: JSON, at most 60 characters. Never throws. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  let text: string;
  try {
    text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value));
  } catch {
    text = `a value of type ${typeof value}`; // an object that contains itself, or has too many levels
  }
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
