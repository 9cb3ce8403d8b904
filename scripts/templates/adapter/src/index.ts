export { __camel__, __camel__Options, type __Pascal__Options, adapter } from './__name__.js';
