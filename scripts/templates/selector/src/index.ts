export { __camel__, __camel__Options, type __Pascal__Options, selector } from './__name__.js';
