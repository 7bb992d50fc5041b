/** Returns the element with an id. Throws if the element is missing or of a different class. */
export function byId<T extends Element>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (found instanceof type) return found;
  throw new Error(
    `index.html: expected #${id} to be a ${type.name}, found ${found ? found.constructor.name : 'nothing'}.`,
  );
}

/** Sets the text of an element. Markup in the text is shown as text. */
export function setText(id: string, text: string): void {
  byId(id, HTMLElement).textContent = text;
}

/** Returns the value of the checked radio button among those with this name. */
export function chosen(name: string): string {
  return document.querySelector<HTMLInputElement>(`input[name="${name}"]:checked`)?.value ?? '';
}

/**
 * Checks the radio button with this name and value. If no radio button has this value, all radio buttons with
 * this name are unchecked.
 */
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
