; LOAD, LOAD_PAD, STORE: elements of 1 << size bytes in DRAM, 1 << words words in the scratchpad.
move:   get x_size, LOAD.x_size
        beq x_size, #0, complete
        mov fault, #ILLEGAL_MEMORY
        bgeu kind, #6, fail
        get first, LOAD.sram_base
        get there, LOAD.dram_base
        get y_size, LOAD.y_size
        get stride, LOAD.x_stride
        beq op, #STORE, store
        beq kind, #OUT, fail
        mov size, #2
        mov words, #2
        mov depth, =DEPTH_ACC
        mov fault, #ACC_RANGE
        mov base, @acc_base
        mov room, =AT_ACC
        beq kind, #ACC_8BIT, load
        mov size, #4
        beq kind, #ACC, load
        mov depth, =DEPTH_WGT
        mov fault, #WGT_RANGE
        mov base, @wgt_base
        mov room, =AT_WGT
        beq kind, #WGT, load
        mov size, #2
        mov words, #0
        mov depth, =DEPTH_INP
        mov fault, #INP_RANGE
        mov base, @inp_base
        mov room, =AT_INP
        beq kind, #INP, load
        mov depth, =DEPTH_UOP
        mov fault, #UOP_RANGE
        mov base, @uop_base
        mov room, #AT_UOP
load:   mov pad, #0
        beq op, #LOAD, pads
        shl pad, y_size, #16
        sar pad, pad, #24
        and y_size, y_size, #255
pads:   get above, LOAD.y_pad_0
        get below, LOAD.y_pad_1
        get left, LOAD.x_pad_0
        get right, LOAD.x_pad_1
        add width, left, x_size
        add width, width, right
        add t0, above, y_size
        add t0, t0, below
        mov t1, #0
        beq t0, #0, total           ; no row is no element, however wide
        bltu depth, width, fail
        bltu depth, t0, fail
        mull t1, width, t0
total:  add t1, t1, first
        bltu depth, t1, fail
        beq kind, #UOP, place
        beq kind, #ACC, place
        beq kind, #ACC_8BIT, place
        and pad, pad, #255          ; a lane is a byte
        mull pad, pad, =0x0101
        shl t0, pad, #16
        or pad, pad, t0
place:  shl at, first, words
        add p, room, at
        mull count, width, above
        jal fill
        beq y_size, #0, under
        jal dram
row:    mov count, left
        jal fill
        mov at, line
        sub t0, size, #2
        shl left_over, x_size, t0   ; words of the row
word:   jal read
        beq kind, #ACC_8BIT, bytes
        st data, p, #0
        add p, p, #1
        j word0
bytes:  mov n, #24
        mov q, p
        add p, p, #4
byte:   shl t0, data, n
        sar t0, t0, #24
        st t0, q, #0
        add q, q, #1
        sub n, n, #8
        bne q, p, byte
word0:  add at, at, #4
        sub left_over, left_over, #1
        bne left_over, #0, word
        mov count, right
        jal fill
        sub y_size, y_size, #1
        beq y_size, #0, under
        add line, line, step
        bf #RESET, reset
        j row
under:  mull count, width, below
        jal fill
        j complete

; `count` elements of padding from `p` on.
fill:   shl count, count, words
        add count, count, p
fill0:  beq p, count, fill1
        st pad, p, #0
        add p, p, #1
        j fill0
fill1:  jr link

; Where the first row begins: `line`, and by what the next one is behind it: `step`. The last byte
; of the last row is below 4 GiB, or nothing is moved.
dram:   sub t0, y_size, #1
        mull t0, t0, stride
        add t0, t0, there
        bltu t0, there, no_bus
        sub t1, x_size, #1
        add t1, t1, t0
        bltu t1, t0, no_bus
        mov t2, #32
        sub t2, t2, size
        shr t0, t1, t2
        bne t0, #0, no_bus
        and base, base, =-8
        shl t1, t1, size
        add t1, t1, base
        bltu t1, base, no_bus
        mov t2, #1
        shl t2, t2, size
        sub t2, t2, #1
        add t2, t2, t1
        bltu t2, t1, no_bus
        shl line, there, size
        add line, line, base
        shl step, stride, size
        jr link

store:  bne kind, #OUT, fail
        beq y_size, #0, complete
        get clamps, STORE.saturate
        get skip, STORE.sram_skip
        get pitch, STORE.sram_stride
        add skip, skip, #1
        bne pitch, #0, pitched
        mull pitch, x_size, skip
pitched: mov fault, #ACC_RANGE
        mov depth, =DEPTH_ACC
        sub t0, y_size, #1
        mov t1, #0
        beq t0, #0, one_row
        bgeu pitch, depth, fail
        bgeu t0, depth, fail
        mull t1, pitch, t0
one_row: add t1, t1, first
        sub t0, x_size, #1
        mull t0, t0, skip
        add t1, t1, t0
        bgeu t1, depth, fail
        mov base, @out_base
        mov size, #2
        jal dram
srow:   mov p, first
        mov at, line
        mov left_over, x_size
each:   shl q, p, #2
        add q, q, =AT_ACC
        mov n, #4
lane:   ld t0, q, #0
        beq clamps, #0, lane2
        bge t0, =-128, lane0
        mov t0, =-128
lane0:  blt t0, #128, lane2
        mov t0, #127
lane2:  shl t0, t0, #24
        shr data, data, #8
        or data, data, t0
        add q, q, #1
        sub n, n, #1
        bne n, #0, lane
        jal write
        add at, at, #4
        add p, p, skip
        sub left_over, left_over, #1
        bne left_over, #0, each
        add first, first, pitch
        sub y_size, y_size, #1
        beq y_size, #0, complete
        add line, line, step
        bf #RESET, reset
        j srow
