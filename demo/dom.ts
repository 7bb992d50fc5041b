/** The elements of index.html, by id: one that is missing, or of another kind, is an error at once. */
export function byId<T extends Element>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (found instanceof type) return found;
  throw new Error(
    `index.html: expected #${id} to be a ${type.name}, found ${found ? found.constructor.name : 'nothing'}.`,
  );
}

/** A text goes in as text, never as markup. */
export function setText(id: string, text: string): void {
  byId(id, HTMLElement).textContent = text;
}

/** The value of the radio that is on. */
export function chosen(name: string): string {
  return document.querySelector<HTMLInputElement>(`input[name="${name}"]:checked`)?.value ?? '';
}

/** Turns a radio on, or all of a name off where none has that value. */
export function choose(name: string, value: string): void {
  for (const input of document.querySelectorAll<HTMLInputElement>(`input[name="${name}"]`))
    input.checked = input.value === value;
}

export function button(text: string, onClick: () => void): HTMLButtonElement {
  const made = document.createElement('button');
  made.type = 'button';
  made.textContent = text;
  made.addEventListener('click', onClick);
  return made;
}
