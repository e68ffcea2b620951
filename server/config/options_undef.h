// Ends one use of options.def: forgets the row macros. Included right after it, any number of times.
#undef SECTION
#undef TEXT
#undef CHOICE
#undef COUNT
#undef BYTES
#undef SECONDS
#undef SWITCH
#undef LIST
