export { codeRound, paperRound, rewards } from './importance-round.js';
export { type IstOptions, ist, selector } from './ist.js';
