// How numbers, times and names are written. Nothing here touches the page.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const count = (number) => whole.format(number);

export const many = (number, one, more = `${one}s`) => `${count(number)} ${number === 1 ? one : more}`;

// Two units, the second where there is some of it.
function both(seconds, large, largeName, small, smallName) {
  const rest = Math.floor((seconds % large) / small);
  const first = `${whole.format(Math.floor(seconds / large))} ${largeName}`;
  return rest > 0 ? `${first} ${rest} ${smallName}` : first;
}

// A rate a second: a tenth matters below ten.
export const rate = (number) => (number < 10 && number > 0 ? tenth : whole).format(number);

export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (number >= 1024 && at < units.length - 1) {
    number /= 1024;
    at += 1;
  }
  return `${(at > 0 && number < 100 ? tenth : whole).format(number)} ${units[at]}`;
}

export function millis(number) {
  if (number === null || number === undefined) return "–";
  if (number < 1) return `${number.toFixed(2)} ms`;
  if (number < 1000) return `${number < 10 ? number.toFixed(1) : Math.round(number)} ms`;
  return duration(number / 1000);
}

export function duration(seconds) {
  if (seconds < 10 && !Number.isInteger(seconds)) return `${seconds.toFixed(1)} s`;
  const left = Math.round(seconds);
  if (left < 60) return `${left} s`;
  if (left < 3600) return both(left, 60, "min", 1, "s");
  if (left < 86400) return both(left, 3600, "h", 60, "min");
  return both(left, 86400, "d", 3600, "h");
}

// A moment in the time of whoever looks, written so that it sorts.
export function when(unixMillis) {
  const at = new Date(unixMillis);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}
