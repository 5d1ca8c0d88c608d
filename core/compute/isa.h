/* isa.h - names for what is compiled once for each instruction set (SEG_ISA, which the build
 * defines): private to such files and to those that choose among them. */
#ifndef SEG_COMPUTE_ISA_H
#define SEG_COMPUTE_ISA_H

#define ISA_PASTE_VALUES(a, b) a##b
#define ISA_PASTE(a, b)        ISA_PASTE_VALUES(a, b)
#define ISA_TEXT_OF(a)         #a
#define ISA_TEXT_VALUE(a)      ISA_TEXT_OF(a)

#define ISA_SYMBOL(a)          ISA_PASTE(a, SEG_ISA) /* a and the set's name, as one identifier */
#define ISA_TEXT               ISA_TEXT_VALUE(SEG_ISA)

#endif
