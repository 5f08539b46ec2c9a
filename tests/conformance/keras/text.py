"""What string inputs are made of: in the vocabularies of the table and out of them, empty, accented, punctuated."""

WORDS = ["lion", "tiger", "bear", "häuser", "", "?", "Lion", "wolf"]
SENTENCES = ["The big LION, the tiger!", "", "bear", "häuser  and\ttiger-bear", "the big big lion's", "A, b. c?"]
