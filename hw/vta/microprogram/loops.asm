; GEMM, DEPTHWISE, ALU: for each micro-operation `body`, with dst, src and wgt.
loops:  get begin, GEMM.uop_bgn
        get stop, GEMM.uop_end
        get outer, GEMM.iter_out
        get inner, GEMM.iter_in
        bgeu begin, stop, complete
        beq outer, #0, complete
        beq inner, #0, complete
        mov dst0, #0
        mov src0, #0
        mov wgt0, #0
        get dst_out, GEMM.dst_factor_out
        get dst_in, GEMM.dst_factor_in
        get option, GEMM.overwrite
        beq op, #ALU, alu
        get src_out, GEMM.src_factor_out
        get src_in, GEMM.src_factor_in
        get wgt_out, GEMM.wgt_factor_out
        get wgt_in, GEMM.wgt_factor_in
        mov body, =gemm
        bne option, #0, gemm_o
        j gemm_k
gemm_o: mov body, =over
gemm_k: get t0, GEMM.reset_reg
        beq t0, #0, depth0
        mov body, =zero
depth0: mov wgt_depth, =DEPTH_WGT
        bne op, #DEPTHWISE, turn
        shl wgt_depth, wgt_depth, #2
        beq body, =zero, turn
        mov body, =lanes
turn:   mov dst1, dst0
        mov src1, src0
        mov wgt1, wgt0
        mov turns, inner
inside: mov k, begin
again:  bgeu k, =DEPTH_UOP, no_uop
        ld t0, k, #AT_UOP
        and dst, t0, =DST_MASK
        add dst, dst, dst1
        bgeu dst, =DEPTH_ACC, no_acc
        shl dst, dst, #2
        add dst, dst, =AT_ACC
        shr src, t0, #SRC_SHIFT
        shr wgt, src, #WGT_SHIFT
        and wgt, wgt, =WGT_MASK
        add wgt, wgt, wgt1
        and src, src, =SRC_MASK
        add src, src, src1
        jr body
; The usual case; it is followed by the end of the loop.
gemm:   bgeu src, =DEPTH_INP, no_inp
        ld x, src, =AT_INP
        bgeu wgt, =DEPTH_WGT, no_wgt
        shl wgt, wgt, #2
        add wgt, wgt, =AT_WGT
        ld y, wgt, #0
        dot t0, x, y
        ld t1, dst, #0
        add t0, t0, t1
        st t0, dst, #0
        ld y, wgt, #1
        dot t0, x, y
        ld t1, dst, #1
        add t0, t0, t1
        st t0, dst, #1
        ld y, wgt, #2
        dot t0, x, y
        ld t1, dst, #2
        add t0, t0, t1
        st t0, dst, #2
        ld y, wgt, #3
        dot t0, x, y
        ld t1, dst, #3
        add t0, t0, t1
        st t0, dst, #3
done:   add @user, @user, #1
        add k, k, #1
        bf #RESET, reset
        bltu k, stop, again
        add dst1, dst1, dst_in
        add src1, src1, src_in
        add wgt1, wgt1, wgt_in
        sub turns, turns, #1
        bne turns, #0, inside
        add dst0, dst0, dst_out
        add src0, src0, src_out
        add wgt0, wgt0, wgt_out
        sub outer, outer, #1
        bne outer, #0, turn
        j complete
no_uop: mov fault, #UOP_RANGE
        j fail
no_inp: mov fault, #INP_RANGE
        j fail
no_wgt: mov fault, #WGT_RANGE
        j fail
no_acc: mov fault, #ACC_RANGE
        j fail

zero:   st =0, dst, #0
        st =0, dst, #1
        st =0, dst, #2
        st =0, dst, #3
        j done
over:   jal operands
        ld y, wgt, #0
        dot t0, x, y
        st t0, dst, #0
        ld y, wgt, #1
        dot t0, x, y
        st t0, dst, #1
        ld y, wgt, #2
        dot t0, x, y
        st t0, dst, #2
        ld y, wgt, #3
        dot t0, x, y
        st t0, dst, #3
        j done
operands:
        bgeu src, =DEPTH_INP, no_inp
        ld x, src, =AT_INP
        bgeu wgt, wgt_depth, no_wgt
        beq op, #DEPTHWISE, row_of
        shl wgt, wgt, #2
row_of: add wgt, wgt, =AT_WGT
        jr link
lanes:  jal operands
        ld y, wgt, #0
        mov u0, #255
        mov n, #4
lanes0: and t0, x, u0
        dot t0, t0, y
        bne option, #0, lanes1
        ld t1, dst, #0
        add t0, t0, t1
lanes1: st t0, dst, #0
        add dst, dst, #1
        shl u0, u0, #8
        sub n, n, #1
        bne n, #0, lanes0
        j done

alu:    get src_out, ALU.src_factor_out
        get src_in, ALU.src_factor_in
        mov wgt_out, #0
        mov wgt_in, #0
        get kind, ALU.alu_opcode
        get direct, ALU.use_imm
        get y, ALU.imm
        shl y, y, #16
        sar y, y, #16
        mov body, =element
        mov limit, =DEPTH_ACC
        mov each_lane, =min
        beq kind, #0, operation
        mov each_lane, =max
        beq kind, #1, operation
        mov each_lane, =sum
        beq kind, #2, operation
        mov each_lane, =shift
        beq kind, #3, operation
        mov each_lane, =product
        beq kind, #4, operation
        mov each_lane, =clip
        beq kind, #5, operation
        mov each_lane, =move_it
        beq kind, #6, operation
        mov each_lane, =requantise
        mov direct, #0
        sub limit, limit, option    ; the element behind the source is used, too
        shl low, y, #24
        sar low, low, #24
        sar high, y, #8
operation:
        beq direct, #0, turn
        mov limit, =-1              ; there is no source
        j turn
element: bgeu src, limit, no_acc
        shl src, src, #2
        add src, src, =AT_ACC
        add last, dst, #4
element0: ld x, dst, #0
        bne direct, #0, element1
        ld y, src, #0
element1: jr each_lane
max:    bge x, y, store_it
        mov x, y
        j store_it
clip:   blt x, y, clip0
        mov x, y
clip0:  sub t0, =0, y
        bge x, t0, store_it
        mov x, t0
        j store_it
min:    blt x, y, store_it
move_it: mov x, y
        j store_it
sum:    add x, x, y
        j store_it
product: mull t0, x, y
        mulh t1, x, y
        mulh t2, y, x
        add t1, t1, t2
        shl t1, t1, #16
        add x, t0, t1
        j store_it
shift:  blt y, #0, shift1
        mov t0, y
        bltu y, #31, shift0
        mov t0, #31
shift0: sar x, x, t0
        j store_it
shift1: sub t0, =0, y
        bltu t0, #32, shift2
        mov x, #0
        j store_it
shift2: shl x, x, t0
store_it: st x, dst, #0
        add dst, dst, #1
        add src, src, #1
        bne dst, last, element0
        j done

; (x * multiplier + half) >> shift + zero point, clamped. The product is t1 << 16 | t0.
requantise:
        beq option, #0, rqt0
        ld t0, src, #4
        add x, x, t0
rqt0:   mull t0, x, y
        mulh t1, x, y
        bge x, #0, rqt1
        shl t2, y, #16
        sub t1, t1, t2
rqt1:   shr t2, t0, #16
        add t1, t1, t2
        shr u0, y, #16
        and u0, u0, #63
        bltu u0, #17, rqt2
        sub u0, u0, #17
        bltu u0, #31, rqt3
        mov u0, #31
rqt3:   sar x, t1, u0
        j rqt6
rqt2:   blt t1, =0x4000, rqt4       ; far beyond what is clamped, and it fits
        mov t1, =0x3fff
rqt4:   bge t1, =-0x4000, rqt5
        mov t1, =-0x4000
rqt5:   shl t1, t1, #16
        and t0, t0, =0xffff
        or x, t1, t0
        beq u0, #0, rqt7
        sub u0, u0, #1
        sar x, x, u0
rqt6:   add x, x, #1
        sar x, x, #1
rqt7:   sar t0, y, #24
        add x, x, t0
        blt x, high, rqt8
        mov x, high
rqt8:   bge x, low, store_it
        mov x, low
        j store_it
